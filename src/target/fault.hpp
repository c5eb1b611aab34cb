// Fault: a layer that injects errors, delays and partly executed requests, and emulates a disk's
// volatile write cache, which loses unflushed data in a power cut.
//
// For tests; see fault_options.hpp for the options. Used by the threads of all queues. It never
// logs injected faults: they are counted in its health.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <random>

#include "ring/range_lock.hpp"
#include "target/fault_cache.hpp"
#include "target/fault_options.hpp"
#include "target/target.hpp"

namespace sluice {

class Fault final : public Target {
 public:
  Fault(Children child, const FaultOptions& options);

  // From now on every request fails with EIO, and the content of the cache is lost. Any thread.
  // Only requests already submitted to the child still complete.
  void power_cut();
  bool powered() const { return powered_.load(std::memory_order_acquire); }
  std::string swap_risk() const override {
    return "target 'fault' allocates memory for its requests";
  }
  // power_cut
  Task control(Request& request, ControlCall& call) override;
  // Degraded once it has made a request fail; failed after a power cut.
  Health health() const override;

 private:
  // The faults of one request.
  struct Verdict {
    bool fails = false;
    uint64_t prefix_bytes = 0;  // executed before it fails
    std::chrono::nanoseconds delay{0};
  };

  Task do_submit(Request& request) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Verdict judge(const Request& request);
  bool happens(double rate);
  Task misbehave(Request& request, Verdict verdict);
  Task serve(Request& request);

  Task read_cached(Request& request);
  Task write_cached(Request& request);
  void store(const Request& request, const Buffer& bytes);
  Task make_room(Request& request);
  Task flush_cached(Request& request);
  Task evict(Request& request);
  Task write_back(Request& request, uint64_t begin, uint64_t end);
  Task drain(Request& request, uint64_t begin, uint64_t end);
  static Request part_of_run(const Request& request, const FaultCache::Run& run);
  std::pair<uint64_t, uint64_t> pick_victims(const Request& request);

  const FaultOptions options_;
  std::atomic<bool> powered_ = true;
  FaultCache cache_;
  RangeLock writing_back_;  // keeps older versions of a block from overtaking newer ones

  mutable std::mutex mutex_;
  std::mt19937_64 random_;  // this and the rest is guarded by mutex_
  uint64_t requests_ = 0;
  uint64_t included_ = 0;
  uint64_t failed_ = 0;
};

}  // namespace sluice
