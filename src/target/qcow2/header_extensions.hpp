// The extensions that follow the header of an image; for parse_header().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

inline constexpr uint32_t kBitmapsExtensionType = 0x23852875;

struct Extension {
  uint32_t type = 0;  // 0: there is none any more
  std::span<const std::byte> data = {};
};

// Reads one extension after the other. Borrows the bytes.
class ExtensionArea {
 public:
  // `bytes`: from the beginning of the image to the end of the area; the area begins at `place`.
  ExtensionArea(std::span<const std::byte> bytes, size_t place) : bytes_(bytes), place_(place) {}

  // EINVAL: it does not end within the area.
  Result<Extension> next();

 private:
  std::span<const std::byte> bytes_;
  size_t place_;
};

// The name of an incompatible feature for a sentence: of the image's own table of names, or the
// number of its bit.
std::string feature_name(ExtensionArea area, uint32_t bit);

// Reads them into `header`, whose other fields have been checked. The place of the bitmap directory
// has not been.
Result<void> read_extensions(ExtensionArea area, Header& header);

// EINVAL: the name, which is `what`, is longer than `most` bytes, or has a NUL.
Result<void> read_name(std::span<const std::byte> bytes, std::string_view what, size_t most,
                       std::string& name);

}  // namespace sluice::qcow2
