// VolatileBlocks: a metadata device in memory with a volatile write cache, for a writer that waits
// for each block.
//
// At each write and flush a test can take what a power cut would leave: of each sector, which may
// tear a block, the durable version or any later one.
#pragma once

#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "persistent/block_reader.hpp"
#include "persistent/block_writer.hpp"

namespace sluice::test {

class VolatileBlocks final : public persistent::BlockReader, public persistent::BlockWriter {
 public:
  using Bytes = std::vector<std::byte>;

  explicit VolatileBlocks(Bytes bytes) : newest_(bytes), durable_(std::move(bytes)) {}

  std::function<void()> on_event = [] {};              // before and after each write and flush
  std::function<bool()> fails = [] { return false; };  // a write or flush, with EIO

  uint64_t blocks() const override { return newest_.size() / persistent::kBlockBytes; }
  Result<void> read(uint64_t number, persistent::Block block) override {
    if (number >= blocks()) return fail(EINVAL, "no such block");
    std::memcpy(block.data(), newest_.data() + number * block.size(), block.size());
    return {};
  }

  Result<void> flush_data() override {
    data_is_durable_ = true;
    return {};
  }
  Result<void> write(uint64_t number, persistent::ConstBlock block) override {
    on_event();
    if (fails()) return fail(EIO, "the write fails");
    put(number, block);
    on_event();
    return {};
  }
  Result<void> flush() override {
    on_event();
    if (fails()) return fail(EIO, "the flush fails");
    for (const auto& [sector, versions] : pending_) {
      std::memcpy(durable_.data() + sector * kSector, versions.back().data(), kSector);
    }
    pending_.clear();
    on_event();
    return {};
  }
  // What it leads to is durable by now.
  Result<void> write_superblock(persistent::ConstBlock block) override {
    orders_are_kept &= pending_.empty() && data_is_durable_;
    data_is_durable_ = false;
    on_event();
    put(0, block);
    on_event();
    if (fails()) return fail(EIO, "the write fails");
    return flush();
  }

  Bytes after_cut(std::mt19937_64& random) const {
    Bytes left = durable_;
    for (const auto& [sector, versions] : pending_) {
      const size_t chosen = random() % (versions.size() + 1);
      if (chosen == 0) continue;
      std::memcpy(left.data() + sector * kSector, versions[chosen - 1].data(), kSector);
    }
    return left;
  }
  const Bytes& newest() const { return newest_; }

  bool orders_are_kept = true;  // data and metadata were durable before each superblock

 private:
  static constexpr size_t kSector = 512;
  using Sector = std::array<std::byte, kSector>;

  void put(uint64_t number, persistent::ConstBlock block) {
    const size_t first = number * block.size();
    std::memcpy(newest_.data() + first, block.data(), block.size());
    for (size_t place = 0; place < block.size(); place += kSector) {
      Sector sector;
      std::memcpy(sector.data(), block.data() + place, kSector);
      pending_[(first + place) / kSector].push_back(sector);
    }
  }

  Bytes newest_;
  Bytes durable_;
  std::map<uint64_t, std::vector<Sector>> pending_;
  bool data_is_durable_ = false;
};

}  // namespace sluice::test
