// Volume: what a pool and a volume of it that is served know of each other.
#pragma once

#include <atomic>
#include <cstdint>

#include "ring/range_lock.hpp"
#include "target/thin/mapping_cache.hpp"

namespace sluice::thin {

class Volume {
 public:
  explicit Volume(uint32_t id) : id_(id) {}

  uint32_t id() const { return id_; }
  VolumeView view() const {
    return {.id = id_, .generation = generation_.load(std::memory_order_relaxed)};
  }
  // A request holds its range as long as it uses what it has looked up; who changes mappings holds
  // the blocks exclusively, and a snapshot holds all: a request is wholly before it or after it.
  RangeLock& ranges() { return ranges_; }

  // --- By the holder of the pool.
  // Mappings older than that are shared with a snapshot.
  uint32_t snapshotted_time() const { return snapshotted_time_; }
  void set_snapshotted_time(uint32_t time) {
    snapshotted_time_ = time;
    generation_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  const uint32_t id_;
  std::atomic<uint32_t> generation_ = 0;
  uint32_t snapshotted_time_ = 0;
  RangeLock ranges_;
};

}  // namespace sluice::thin
