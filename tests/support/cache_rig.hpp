// CacheRig: a MetadataCache on a VolatileDisk and a ManualRing, and tasks that use it step by step.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/metadata/metadata_cache.hpp"

namespace sluice::test {

class CacheRig {
 public:
  static constexpr uint32_t kBlockBytes = 1024;
  static constexpr uint64_t kBlocksOnDisk = 64;

  // A task of a test, with a tag of its own.
  class Job {
   public:
    template <typename Start>
    Job(Ring& ring, Start start) : tag_(ring) {
      Request& request = tag_.make(Op::flush, 0, uint64_t{0});
      task_.emplace(start(request));
    }
    bool finished() const { return task_->finished(); }
    // -1 while it runs.
    int error() const { return finished() ? task_->status().error() : -1; }

   private:
    TestTag tag_;
    std::optional<Task> task_;
  };

  CacheRig() { open({.blocks = 4}); }
  ~CacheRig() { cache.reset(); }

  void open(MetadataCache::Options options) {
    options.block_bytes = kBlockBytes;
    auto made = MetadataCache::create(disk, options);
    ASSERT_TRUE(made) << made.error().text;
    cache = std::move(*made);
  }

  template <typename Start>
  std::unique_ptr<Job> start(Start start_task) {
    auto job = std::make_unique<Job>(ring, start_task);
    ring.settle();
    return job;
  }
  template <typename Start>
  int run(Start start_task) {
    const auto job = start(start_task);
    ring.perform_all();
    return job->error();
  }

  // --- Whole steps. Each returns an errno, or 0.
  int read(uint64_t number, ReadPin& pin) {
    return run([&](Request& request) { return cache->read(request, number, pin); });
  }
  int write(uint64_t number, WritePin& pin) {
    return run([&](Request& request) { return cache->write(request, number, pin); });
  }
  int write_new(uint64_t number, WritePin& pin) {
    return run([&](Request& request) { return cache->write_new(request, number, pin); });
  }
  int order(WritePin& pin, BlockVersion version) {
    return run([&](Request& request) { return cache->order_after(request, pin, version); });
  }
  int order_after_data(WritePin& pin) {
    return run([&](Request& request) { return cache->order_after_data(request, pin); });
  }
  int flush() {
    return run([&](Request& request) { return cache->flush(request); });
  }
  int make_durable(BlockVersion version) {
    return run([&](Request& request) { return cache->make_durable(request, version); });
  }
  // Fills the block with `value` and publishes it, ordered after `before` if given.
  BlockVersion put(uint64_t number, uint8_t value, BlockVersion before = {}) {
    WritePin pin;
    EXPECT_EQ(write(number, pin), 0);
    if (before.slot != nullptr) EXPECT_EQ(order(pin, before), 0);
    fill(pin, value);
    return pin.publish();
  }
  // The value of the block in the cache; 256 if its bytes differ, or on an error.
  int get(uint64_t number) {
    ReadPin pin;
    return read(number, pin) == 0 ? value_of(pin.bytes()) : 256;
  }

  static void fill(WritePin& pin, uint8_t value) {
    std::memset(pin.bytes().data(), value, pin.bytes().size());
  }
  static int value_of(std::span<const std::byte> bytes) {
    for (const std::byte each : bytes) {
      if (each != bytes[0]) return 256;
    }
    return std::to_integer<int>(bytes[0]);
  }
  // The value of the block on the disk: the durable one, or the newest.
  int on_disk(uint64_t number, VolatileDisk::Left left = VolatileDisk::Left::durable) {
    const std::scoped_lock guard(power.mutex);
    const std::vector<std::byte> bytes = disk.after_cut(left, power.random);
    return value_of(std::span(bytes).subspan(number * kBlockBytes, kBlockBytes));
  }

  Power power{1};
  VolatileDisk disk{power, kBlocksOnDisk* kBlockBytes, false};
  VolatileDisk data{power, 64 * 1024, false};
  ManualRing ring;
  std::unique_ptr<MetadataCache> cache;
};

}  // namespace sluice::test
