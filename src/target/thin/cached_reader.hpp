// CachedReader: gives a transaction those blocks of the metadata that are in the cache, and
// remembers the first one that is not, for the coroutine that tries again once it is there.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "persistent/block_reader.hpp"
#include "target/metadata/metadata_cache.hpp"

namespace sluice::thin {

class CachedReader final : public persistent::BlockReader {
 public:
  explicit CachedReader(MetadataCache& cache) : cache_(cache) {}

  // For the next step of the transaction.
  void begin(Request& request) {
    request_ = &request;
    missed_.reset();
  }
  std::optional<uint64_t> missed() const { return missed_; }

  uint64_t blocks() const override { return cache_.blocks_on_child(); }
  Result<void> read(uint64_t number, persistent::Block block) override {
    if (number >= blocks()) {
      return fail(EILSEQ, fmt::format("there is no block {}: the metadata device has {}", number,
                                      blocks()));
    }
    ReadPin pin;
    if (!cache_.try_read(*request_, number, pin)) {
      if (!missed_) missed_ = number;
      return fail(EAGAIN, "it is not in the cache");
    }
    std::ranges::copy(pin.bytes(), block.begin());
    return {};
  }

 private:
  MetadataCache& cache_;
  Request* request_ = nullptr;
  std::optional<uint64_t> missed_;
};

}  // namespace sluice::thin
