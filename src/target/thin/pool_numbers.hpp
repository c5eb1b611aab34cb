// PoolNumbers: how much of a pool is in use, and what it has done, for its users.
//
// Written by the holder of the pool, read by any thread.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "core/health.hpp"
#include "persistent/served_transaction.hpp"

namespace sluice::thin {

struct PoolNumbers {
  using Number = std::atomic<uint64_t>;

  Number data_blocks = 0;
  Number data_free = 0;
  Number metadata_blocks = 0;
  Number metadata_free = 0;
  Number provisioned = 0;
  Number copied = 0;
  Number unmapped = 0;
  Number commits = 0;

  void note(const persistent::Transaction& transaction) {
    const persistent::Superblock& superblock = transaction.superblock();
    data_blocks.store(superblock.data_space_map.blocks, std::memory_order_relaxed);
    data_free.store(transaction.free_data_blocks(), std::memory_order_relaxed);
    metadata_blocks.store(superblock.metadata_space_map.blocks, std::memory_order_relaxed);
    metadata_free.store(transaction.free_metadata_blocks(), std::memory_order_relaxed);
  }

  // Whether less than so many percent are free.
  bool is_data_low(uint32_t percent) const { return is_low(data_free, data_blocks, percent); }
  bool is_metadata_low(uint32_t percent) const {
    return is_low(metadata_free, metadata_blocks, percent);
  }
  // "data", "metadata"; null: neither.
  const char* low_on(uint32_t percent) const {
    if (is_data_low(percent)) return "data";
    return is_metadata_low(percent) ? "metadata" : nullptr;
  }

  void tell(Health& health) const {
    using enum HealthNumber::Kind;
    const auto add = [&](std::string name, const Number& number, HealthNumber::Kind kind) {
      health.numbers.push_back(
          {.name = std::move(name), .value = number.load(std::memory_order_relaxed), .kind = kind});
    };
    add("data_blocks", data_blocks, gauge);
    add("data_blocks_free", data_free, gauge);
    add("metadata_blocks", metadata_blocks, gauge);
    add("metadata_blocks_free", metadata_free, gauge);
    add("blocks_provisioned", provisioned, counter);
    add("blocks_copied", copied, counter);
    add("blocks_unmapped", unmapped, counter);
    add("commits", commits, counter);
  }

 private:
  static bool is_low(const Number& free, const Number& all, uint32_t percent) {
    return free.load(std::memory_order_relaxed) * 100 <
           all.load(std::memory_order_relaxed) * percent;
  }
};

}  // namespace sluice::thin
