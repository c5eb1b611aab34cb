// Verify: two children that should say the same: a main one, which serves, and a reference.
//
// For tests of targets against simpler ones. Writes go to both, reads are made from both and
// compared byte by byte; a difference fails the read with EIO, and the first ten are logged. The
// two must begin with the same content. Used by the threads of all queues.
#pragma once

#include <atomic>

#include "core/buffer.hpp"
#include "ring/range_lock.hpp"
#include "target/target.hpp"

namespace sluice {

class Verify final : public Target {
 public:
  // The reference is at least as large as the main child.
  Verify(Children main_and_reference, const Geometry& geometry);
  ~Verify() override;

  // Reads that found a difference.
  uint64_t mismatches() const { return mismatches_.load(std::memory_order_relaxed); }

 private:
  Task do_submit(Request& request) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Task read(Request& request);
  Task write(Request& request);
  bool same(const Request& request, const Buffer& main, const Buffer& reference);

  RangeLock ranges_;  // a read and a write of the same bytes could reach the two in different order
  std::atomic<uint64_t> mismatches_ = 0;
};

}  // namespace sluice
