#include "target/qcow2/backing_name.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/big_endian.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint32_t kFormatOfBacking = 0xe2792aca;
constexpr size_t kSectorBytes = 512;
constexpr size_t kNameOffsetPlace = 8;
constexpr size_t kNameBytesPlace = 16;
constexpr size_t kNameFieldsEnd = 20;
constexpr size_t kHeaderBytesPlace = 100;
constexpr size_t kHeaderBytesVersion2 = 72;
constexpr size_t kHeadBytes = 8;  // of an extension: its type and length

using HeaderBytes = std::vector<std::byte>;

size_t up_to_8(size_t bytes) { return (bytes + 7) / 8 * 8; }

// What the first cluster has now.
struct Present {
  std::span<const std::byte> start;
  size_t header_bytes = 0;
  size_t name_offset = 0;
  size_t name_bytes = 0;
  std::optional<size_t> format_place = {};  // of its extension
  size_t format_bytes = 0;
  size_t end = 0;  // of the extensions; their end mark is here, if there is one
  bool has_end_mark = false;

  size_t name_end() const { return name_offset + name_bytes; }
  std::string_view format() const {
    const auto data = start.subspan(*format_place + kHeadBytes, format_bytes);
    return {reinterpret_cast<const char*>(data.data()), data.size()};
  }
};

Present look_at_header(std::span<const std::byte> start) {
  const bool is_version_2 = load_big_endian<uint32_t>(start, 4) == 2;
  Present found{.start = start};
  found.header_bytes =
      is_version_2 ? kHeaderBytesVersion2 : load_big_endian<uint32_t>(start, kHeaderBytesPlace);
  found.name_offset = static_cast<size_t>(load_big_endian<uint64_t>(start, kNameOffsetPlace));
  found.name_bytes = load_big_endian<uint32_t>(start, kNameBytesPlace);
  if (found.name_offset == 0) found.name_bytes = 0;
  const size_t area_end = found.name_offset == 0 ? start.size() : found.name_offset;
  found.end = found.header_bytes;
  while (found.end + kHeadBytes <= area_end) {
    const auto type = load_big_endian<uint32_t>(start, found.end);
    found.has_end_mark = type == 0;
    if (found.has_end_mark) break;
    const auto bytes = load_big_endian<uint32_t>(start, found.end + 4);
    if (type == kFormatOfBacking) {
      found.format_place = found.end;
      found.format_bytes = bytes;
    }
    found.end += kHeadBytes + up_to_8(bytes);
  }
  return found;
}

void append(HeaderBytes& bytes, std::string_view text) {
  const size_t begin = bytes.size();
  bytes.resize(begin + text.size());
  std::memcpy(bytes.data() + begin, text.data(), text.size());
}

HeaderBytes format_extension(std::string_view format) {
  HeaderBytes bytes(kHeadBytes);
  store_big_endian(std::span(bytes), 0, kFormatOfBacking);
  store_big_endian(std::span(bytes), 4, static_cast<uint32_t>(format.size()));
  append(bytes, format);
  bytes.resize(up_to_8(bytes.size()));
  return bytes;
}

void store_name_fields(std::span<std::byte> bytes, size_t offset, size_t length) {
  store_big_endian(bytes, kNameOffsetPlace, uint64_t{offset});
  store_big_endian(bytes, kNameBytesPlace, static_cast<uint32_t>(length));
}

// All of it anew, in order and without gaps.
HeaderBytes lay_out(const Present& present, std::string_view name, std::string_view format) {
  HeaderBytes bytes(present.start.begin(),
                    present.start.begin() + static_cast<ptrdiff_t>(present.header_bytes));
  const HeaderBytes extension = format_extension(format);
  bytes.insert(bytes.end(), extension.begin(), extension.end());
  for (size_t place = present.header_bytes; place < present.end;) {
    const size_t length = kHeadBytes + up_to_8(load_big_endian<uint32_t>(present.start, place + 4));
    const auto other = present.start.subspan(place, length);
    if (place != present.format_place) bytes.insert(bytes.end(), other.begin(), other.end());
    place += length;
  }
  bytes.resize(bytes.size() + kHeadBytes);
  store_name_fields(bytes, bytes.size(), name.size());
  append(bytes, name);
  return bytes;
}

std::unexpected<Error> refuse_layout() {
  return fail(ENOTSUP,
              "its header cannot be changed in a way that is safe at a power cut: copy the image");
}

// The first sector with the new name, and how much of it has changed.
class FirstSector {
 public:
  explicit FirstSector(std::span<const std::byte> start)
      : bytes_(start.begin(), start.begin() + kSectorBytes) {}

  void set_name(size_t offset, size_t length) { store_name_fields(bytes_, offset, length); }
  // False: it lies elsewhere.
  bool put(size_t place, std::span<const std::byte> bytes) {
    if (place + bytes.size() > bytes_.size()) return false;
    std::ranges::copy(bytes, bytes_.begin() + static_cast<ptrdiff_t>(place));
    changed_end_ = std::max(changed_end_, place + bytes.size());
    return true;
  }
  HeaderWrite write() const {
    return {.place = kNameOffsetPlace,
            .bytes = HeaderBytes(bytes_.begin() + kNameOffsetPlace,
                                 bytes_.begin() + static_cast<ptrdiff_t>(changed_end_))};
  }

 private:
  HeaderBytes bytes_;
  size_t changed_end_ = kNameFieldsEnd;
};

// Without it the old name would be read as an extension, once it is none.
bool put_end_mark(FirstSector& sector, const Present& present) {
  if (present.has_end_mark || present.end >= present.start.size()) return true;
  return sector.put(present.end, HeaderBytes(kHeadBytes));
}

// False: the extension cannot change together with the name.
bool change_format(FirstSector& sector, const Present& present, std::string_view format) {
  if (present.format() == format) return true;
  const HeaderBytes extension = format_extension(format);
  return extension.size() == kHeadBytes + up_to_8(present.format_bytes) &&
         sector.put(*present.format_place, extension);
}

}  // namespace

Result<std::vector<HeaderWrite>> plan_backing(std::span<const std::byte> start,
                                              const std::string& name, const std::string& format) {
  const Present present = look_at_header(start);
  FirstSector sector(start);
  if (name.empty()) {
    sector.set_name(0, 0);
    if (!put_end_mark(sector, present)) return refuse_layout();
    return std::vector{sector.write()};
  }
  HeaderBytes whole = lay_out(present, name, format);
  if (whole.size() <= kSectorBytes) {
    whole.resize(kSectorBytes);
    return std::vector{HeaderWrite{.place = 0, .bytes = std::move(whole)}};
  }
  // The new name comes behind all that is there.
  HeaderBytes extension = format_extension(format);
  extension.resize(extension.size() + kHeadBytes);  // with a new end mark
  const size_t own_end =
      present.end + (present.format_place ? size_t{kHeadBytes} : extension.size());
  const size_t place = up_to_8(std::max(own_end, present.name_end()));
  if (place + name.size() > start.size()) {
    return fail(ENOSPC, fmt::format("its first cluster has no room for a name of {} bytes: give a"
                                    " shorter one, or copy the image with larger clusters",
                                    name.size()));
  }
  std::vector<HeaderWrite> writes(1);
  writes.front().place = place;
  append(writes.front().bytes, name);
  sector.set_name(place, name.size());
  if (!put_end_mark(sector, present)) return refuse_layout();
  if (present.format_place) {
    if (!change_format(sector, present, format)) return refuse_layout();
    writes.push_back(sector.write());
    return writes;
  }
  const bool is_together = sector.put(present.end, extension);
  writes.push_back(sector.write());
  if (is_together) return writes;
  // Its head comes last, over the old end mark.
  const std::span head = std::span(extension).first(kHeadBytes);
  writes.push_back({.place = present.end + kHeadBytes,
                    .bytes = HeaderBytes(extension.begin() + kHeadBytes, extension.end())});
  writes.push_back({.place = present.end, .bytes = HeaderBytes(head.begin(), head.end())});
  return writes;
}

}  // namespace sluice::qcow2
