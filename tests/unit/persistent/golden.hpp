// Golden images: metadata that thin_restore or the kernel has written, byte for byte.
//
// Each is a file of lines "OFFSET: BYTES" in hexadecimal; all bytes that no line has are zero.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "persistent/block.hpp"

namespace sluice::persistent::test {

std::vector<std::byte> golden(const std::string& name, size_t blocks);

inline ConstBlock block_of(const std::vector<std::byte>& image, size_t number) {
  return std::span(image).subspan(number * kBlockBytes).first<kBlockBytes>();
}
inline Block block_of(std::vector<std::byte>& image, size_t number) {
  return std::span(image).subspan(number * kBlockBytes).first<kBlockBytes>();
}

}  // namespace sluice::persistent::test
