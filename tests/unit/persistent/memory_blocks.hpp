// MemoryBlocks: the metadata of a pool in memory.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "persistent/block_reader.hpp"
#include "unit/persistent/golden.hpp"

namespace sluice::persistent::test {

class MemoryBlocks final : public BlockReader {
 public:
  explicit MemoryBlocks(std::vector<std::byte> bytes) : image(std::move(bytes)) {}

  uint64_t blocks() const override { return image.size() / kBlockBytes; }
  Result<void> read(uint64_t number, Block block) override {
    if (number >= blocks()) return fail(EINVAL, fmt::format("there is no block {}", number));
    if (number == unreadable) return fail(EIO, fmt::format("block {} cannot be read", number));
    std::ranges::copy(block_of(std::as_const(image), number), block.begin());
    return {};
  }
  Block at(uint64_t number) { return block_of(image, number); }

  std::vector<std::byte> image;
  uint64_t unreadable = UINT64_MAX;
};

}  // namespace sluice::persistent::test
