// Detects the format of a file from its first bytes. Reports a format only if it is certain.
//
// Pure functions, except tell_what_is_in(), which reads the file. Control path only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/geometry.hpp"
#include "target/file/backing_file.hpp"

namespace sluice {

// The bytes of the beginning that detection needs.
inline constexpr size_t kImageHeadBytes = 8192;

// "qcow2", "vmdk" ...: the file has an image format, and is not a raw disk. Empty: none of these.
std::string_view image_format(std::span<const std::byte> head);

// Content that was made for a certain block size.
struct MadeFor {
  std::string_view what;     // "a partition table", "an XFS file system"
  uint32_t block_bytes = 0;  // the largest block size that works
  bool exactly = false;      // true: no smaller size works
};
// `size_bytes`: of the whole file, which must contain the partitions.
std::optional<MadeFor> made_for(std::span<const std::byte> head, uint64_t size_bytes);

// Logs a line for an image format, and a line for content that was made for another block size than
// the served one.
void tell_what_is_in(const BackingFile& file, const std::string& path, const Geometry& served);

}  // namespace sluice
