// State: what is known of an image that is served: its size, whether it fails, and counters.
//
// Shared by a target and the session that serves it, which may end later. Any thread; the data path
// touches atomics only.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "core/health.hpp"
#include "target/rbd/options.hpp"

namespace sluice::rbd {

class State {
 public:
  explicit State(Options options) : options(std::move(options)) {}

  const Options options;

  // For events: the name of the target. Before any other thread.
  void set_name(std::string name) { name_ = std::move(name); }

  // The image can no longer be served: all requests fail from now on.
  void fail(std::string_view why);
  bool has_failed() const { return failed_.load(std::memory_order_relaxed); }
  // A new session serves it.
  void begin(uint64_t bytes);

  // The cluster has not answered a request in time, or has answered one.
  void timed_out();
  void answered() {
    if (timed_out_.load(std::memory_order_relaxed)) end_timeouts();
  }

  // `served`: the size of the device. What is beyond the present size fails.
  void set_size(uint64_t bytes, uint64_t served);
  // We make the image that large ourselves: it is no news.
  void expect_size(uint64_t bytes);
  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_relaxed); }

  Health health() const;

  // --- Counters of the data path.
  std::atomic<uint64_t> direct_bytes = 0;  // between the library and the lent pages
  std::atomic<uint64_t> copied_bytes = 0;  // by way of a buffer, as the pages have no address
  std::atomic<uint64_t> timeouts = 0;
  std::atomic<uint64_t> retries = 0;  // of requests that a change of features has cut off

 private:
  Health condition() const;
  void end_timeouts();
  void tell();

  std::string name_;
  std::atomic<bool> failed_ = false;
  std::atomic<bool> timed_out_ = false;
  std::atomic<uint64_t> size_bytes_ = 0;
  mutable std::mutex mutex_;  // guards the rest
  std::string why_;
  uint64_t served_bytes_ = 0;
  uint64_t announced_bytes_ = 0;
};

}  // namespace sluice::rbd
