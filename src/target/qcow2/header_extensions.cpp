#include "target/qcow2/header_extensions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint32_t kEndOfExtensions = 0;
constexpr uint32_t kBackingFormatExtension = 0xe2792aca;
constexpr uint32_t kFeatureNamesExtension = 0x6803f857;
constexpr uint32_t kEncryptionExtension = 0x0537be77;
constexpr uint32_t kDataFileExtension = 0x44415441;

constexpr size_t kExtensionHeadBytes = 8;
constexpr size_t kFeatureNameBytes = 48;  // of one entry of the table
constexpr size_t kBitmapsExtensionBytes = 24;
constexpr size_t kEncryptionExtensionBytes = 16;
constexpr size_t kBackingFormatMax = 15;  // as in QEMU

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Empty: the table does not name it.
std::string_view find_feature_name(std::span<const std::byte> table, uint32_t bit) {
  for (; table.size() >= kFeatureNameBytes; table = table.subspan(kFeatureNameBytes)) {
    const bool is_incompatible = table[0] == std::byte{0};
    if (!is_incompatible || std::to_integer<uint32_t>(table[1]) != bit) continue;
    const std::string_view padded = text_of(table.subspan(2, kFeatureNameBytes - 2));
    return padded.substr(0, padded.find('\0'));
  }
  return {};
}

Result<void> read_bitmaps(std::span<const std::byte> data, Header& header) {
  // A program that does not know bitmaps has written to the image: they are out of date, and their
  // clusters may have been used for something else.
  if ((header.autoclear & kBitmapsValid) == 0) return {};
  if (data.size() != kBitmapsExtensionBytes) {
    return fail(EINVAL, fmt::format("the bitmaps extension has {} bytes, and must have {}",
                                    data.size(), kBitmapsExtensionBytes));
  }
  const BitmapsExtension bitmaps = {.count = load_big_endian<uint32_t>(data, 0),
                                    .directory_bytes = load_big_endian<uint64_t>(data, 8),
                                    .directory_offset = load_big_endian<uint64_t>(data, 16)};
  if (const auto reserved = load_big_endian<uint32_t>(data, 4); reserved != 0) {
    return fail(
        EINVAL,
        fmt::format("the reserved field of the bitmaps extension is {}, and must be 0", reserved));
  }
  if (bitmaps.count == 0 || bitmaps.count > kBitmapsMax) {
    return fail(EINVAL,
                fmt::format("nb_bitmaps is {}, and must be 1 to {}", bitmaps.count, kBitmapsMax));
  }
  if (bitmaps.directory_bytes == 0 || bitmaps.directory_bytes > kBitmapDirectoryBytesMax) {
    return fail(EINVAL, fmt::format("bitmap_directory_size is {}, and must be 1 to {}",
                                    bitmaps.directory_bytes, kBitmapDirectoryBytesMax));
  }
  header.bitmaps = bitmaps;
  return {};
}

Result<void> read_encryption(std::span<const std::byte> data, Header& header) {
  if (data.size() != kEncryptionExtensionBytes) {
    return fail(EINVAL, fmt::format("the encryption extension has {} bytes, and must have {}",
                                    data.size(), kEncryptionExtensionBytes));
  }
  const EncryptionExtension place{.offset = load_big_endian<uint64_t>(data, 0),
                                  .bytes = load_big_endian<uint64_t>(data, 8)};
  if (place.bytes == 0) {
    return fail(EINVAL, "the LUKS header has no bytes, by the encryption extension");
  }
  header.encryption = place;
  return {};
}

Result<void> read_extension(const Extension& extension, Header& header) {
  switch (extension.type) {
    case kBackingFormatExtension:
      return read_name(extension.data, "backing file format", kBackingFormatMax,
                       header.backing_format);
    case kBitmapsExtensionType:
      return read_bitmaps(extension.data, header);
    case kEncryptionExtension:
      return read_encryption(extension.data, header);
    case kDataFileExtension:
      return read_name(extension.data, "data file name", extension.data.size(),
                       header.data_file_name);
    default:
      return {};  // what must not be ignored has an incompatible feature as well
  }
}

}  // namespace

Result<Extension> ExtensionArea::next() {
  const size_t end = bytes_.size();
  if (place_ >= end) return Extension{};
  const size_t left = end - place_;
  if (left < kExtensionHeadBytes) {
    return fail(EINVAL, fmt::format("the header extension at {} has {} bytes, and must have {}",
                                    place_, left, kExtensionHeadBytes));
  }
  const auto type = load_big_endian<uint32_t>(bytes_, place_);
  if (type == kEndOfExtensions) return Extension{};
  const auto length = load_big_endian<uint32_t>(bytes_, place_ + 4);
  if (length > left - kExtensionHeadBytes) {
    return fail(EINVAL,
                fmt::format("the header extension 0x{:08x} at {} has {} bytes of data, and must "
                            "end at {}",
                            type, place_, length, end));
  }
  const auto data = bytes_.subspan(place_ + kExtensionHeadBytes, length);
  place_ += kExtensionHeadBytes + (size_t{length} + 7) / 8 * 8;
  return Extension{.type = type, .data = data};
}

std::string feature_name(ExtensionArea area, uint32_t bit) {
  Result<Extension> extension = area.next();
  for (; extension && extension->type != kEndOfExtensions; extension = area.next()) {
    if (extension->type != kFeatureNamesExtension) continue;
    const std::string_view name = find_feature_name(extension->data, bit);
    if (!name.empty()) return shown(name);
  }
  return fmt::format("bit {}", bit);
}

Result<void> read_extensions(ExtensionArea area, Header& header) {
  // Two programs might choose different ones of two.
  std::vector<uint32_t> known;
  Result<Extension> extension = area.next();
  for (; extension && extension->type != kEndOfExtensions; extension = area.next()) {
    const uint32_t type = extension->type;
    const bool is_known = type == kBackingFormatExtension || type == kBitmapsExtensionType ||
                          type == kDataFileExtension || type == kEncryptionExtension;
    if (is_known && std::ranges::find(known, type) != known.end()) {
      return fail(
          EINVAL,
          fmt::format("the header extension 0x{:08x} is there twice, and may be there once", type));
    }
    if (is_known) known.push_back(type);
    if (auto done = read_extension(*extension, header); !done) return done;
  }
  if (!extension) return std::unexpected(extension.error());
  return {};
}

Result<void> read_name(std::span<const std::byte> bytes, std::string_view what, size_t most,
                       std::string& name) {
  const std::string_view text = text_of(bytes);
  if (text.size() > most) {
    return fail(EINVAL, fmt::format("the {} has {} bytes, and may have at most {}", what,
                                    text.size(), most));
  }
  if (text.contains('\0')) {
    return fail(EINVAL,
                fmt::format("the {} {} has a NUL byte, and may not have one", what, shown(text)));
  }
  name = text;
  return {};
}

}  // namespace sluice::qcow2
