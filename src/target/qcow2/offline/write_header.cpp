#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/big_endian.hpp"
#include "target/qcow2/offline/create.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint32_t kBackingFormatType = 0xe2792aca;
constexpr uint32_t kDataFileType = 0x44415441;
constexpr uint32_t kFeatureNamesType = 0x6803f857;
constexpr size_t kHeaderBytes2 = 72;   // of version 2
constexpr size_t kHeaderBytes3 = 112;  // of version 3, with the type of compression
constexpr size_t kFeatureEntryBytes = 48;

// The features by name, for programs that do not know them.
struct FeatureName {
  char type;  // 0 incompatible, 1 compatible, 2 autoclear
  char bit;
  std::string_view name;
};
constexpr FeatureName kFeatureNames[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

using HeaderBytes = std::vector<std::byte>;

void append_header_extension(HeaderBytes& bytes, uint32_t type, std::string_view content);
std::string feature_names();

template <std::unsigned_integral Number>
void append_number(HeaderBytes& bytes, Number number) {
  bytes.resize(bytes.size() + sizeof(number));
  store_big_endian(std::span(bytes), bytes.size() - sizeof(number), number);
}

void append_header_text(HeaderBytes& bytes, std::string_view text) {
  for (const char each : text) bytes.push_back(static_cast<std::byte>(each));
}

// The first 104 bytes of version 3, of which version 2 has 72.
HeaderBytes header_fields(const Header& header) {
  HeaderBytes bytes;
  append_number(bytes, kMagic);
  append_number(bytes, header.version);
  append_number(bytes, uint64_t{0});  // the place of the backing file's name, set later
  append_number(bytes, uint32_t{0});
  append_number(bytes, header.cluster_bits);
  append_number(bytes, header.size_bytes);
  append_number(bytes, uint32_t{0});  // no encryption
  append_number(bytes, header.l1_entries);
  append_number(bytes, header.l1_offset);
  append_number(bytes, header.refcount_table_offset);
  append_number(bytes, header.refcount_table_clusters);
  append_number(bytes, header.snapshots);
  append_number(bytes, header.snapshots_offset);
  if (header.version < 3) return bytes;
  append_number(bytes, header.incompatible);
  append_number(bytes, header.compatible);
  append_number(bytes, header.autoclear);
  append_number(bytes, header.refcount_order);
  append_number(bytes, static_cast<uint32_t>(kHeaderBytes3));
  bytes.push_back(static_cast<std::byte>(header.compression));
  bytes.resize(kHeaderBytes3);
  return bytes;
}

}  // namespace

Result<HeaderBytes> write_header(const Header& header, const HeaderParts& parts) {
  HeaderBytes bytes = header_fields(header);
  if (!header.backing_format.empty()) {
    append_header_extension(bytes, kBackingFormatType, header.backing_format);
  }
  if (!header.data_file_name.empty()) {
    append_header_extension(bytes, kDataFileType, header.data_file_name);
  }
  for (const OtherExtension& each : parts.others) {
    const auto* const data = reinterpret_cast<const char*>(each.data.data());
    append_header_extension(bytes, each.type, {data, each.data.size()});
  }
  const std::string names = feature_names();
  const size_t with_names = bytes.size() + 16 + names.size() + header.backing_name.size();
  if (parts.feature_names && header.version > 2 && with_names <= header.cluster_bytes()) {
    append_header_extension(bytes, kFeatureNamesType, names);
  }
  append_header_extension(bytes, 0, {});
  if (!header.backing_name.empty()) {
    store_big_endian(std::span(bytes), 8, uint64_t{bytes.size()});
    store_big_endian(std::span(bytes), 16, static_cast<uint32_t>(header.backing_name.size()));
    append_header_text(bytes, header.backing_name);
  }
  if (bytes.size() > header.cluster_bytes()) {
    return fail(EINVAL, fmt::format("the names of the files make a header of {} bytes, which is "
                                    "more than a cluster: give shorter names or a larger "
                                    "cluster_size",
                                    bytes.size()));
  }
  static_assert(kHeaderBytes2 % 8 == 0);
  return bytes;
}

namespace {

void append_header_extension(HeaderBytes& bytes, uint32_t type, std::string_view content) {
  append_number(bytes, type);
  append_number(bytes, static_cast<uint32_t>(content.size()));
  append_header_text(bytes, content);
  bytes.resize((bytes.size() + 7) / 8 * 8);
}

std::string feature_names() {
  std::string names;
  for (const auto& [type, bit, name] : kFeatureNames) {
    std::string entry{type, bit};
    entry += name;
    entry.resize(kFeatureEntryBytes);
    names += entry;
  }
  return names;
}

}  // namespace
}  // namespace sluice::qcow2
