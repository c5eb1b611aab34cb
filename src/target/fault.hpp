// Fault: a layer that does wrong what it is told to: errors, delays, requests that fail half done,
// and a disk's volatile write cache that loses what was not flushed when the power goes.
//
// For tests, on request of whoever writes the Spec; fault_options.hpp says what there is. Used by
// the threads of all queues. Its wrongs are wanted, so it never logs them.
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

  // From now on every request fails with EIO, and what the cache held is gone. Any thread. Only
  // what is already on its way to the child still gets there.
  void power_cut();
  bool powered() const { return powered_.load(std::memory_order_acquire); }

 private:
  // What happens to one request.
  struct Verdict {
    bool fails = false;
    uint64_t prefix_bytes = 0;  // what is done before it fails
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
  RangeLock writing_back_;  // or an older version of a block could overtake a newer one

  std::mutex mutex_;
  std::mt19937_64 random_;  // this and the rest is guarded by mutex_
  uint64_t requests_ = 0;
  uint64_t included_ = 0;
  uint64_t failed_ = 0;
};

}  // namespace sluice
