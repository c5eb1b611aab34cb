// Verify: compares two children: the main one, which serves requests, and a reference.
//
// For tests of targets against simpler ones. Writes go to both, reads are made from both and
// compared byte by byte; a difference fails the read with EIO, and the first ten are logged. Both
// must have the same initial content. Used by the threads of all queues.
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

  // The number of reads that found a difference.
  uint64_t mismatches() const { return mismatches_.load(std::memory_order_relaxed); }
  std::string swap_risk() const override {
    return "target 'verify' allocates memory for its requests";
  }

 private:
  Task do_submit(Request& request) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Task read(Request& request);
  Task write(Request& request);
  bool same(const Request& request, const Buffer& main, const Buffer& reference);

  RangeLock ranges_;  // keeps the order of overlapping reads and writes equal on both children
  std::atomic<uint64_t> mismatches_ = 0;
};

}  // namespace sluice
