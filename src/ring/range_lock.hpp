// RangeLock: serialises requests that access the same bytes; others do not wait for each other.
//
//   RangeLock::Hold hold(lock_, *request.ring, offset, length, RangeLock::Mode::exclusive);
//   co_await hold;
//
// Part of a target, used by the threads of all its queues: a holder that waits is resumed by its
// own ring. Overlapping holds are served in order, so none starves. Each hold is compared with all
// others, which suits the usual number of requests in flight, but not thousands.
//
// While there is no exclusive hold, a shared one takes no lock and does not suspend: it is only
// counted. The price: an exclusive hold waits for all counted holds, whatever their ranges.
#pragma once

#include <array>
#include <atomic>
#include <coroutine>
#include <cstdint>
#include <mutex>

#include "ring/parked.hpp"

namespace sluice {

class RangeLock {
 public:
  enum class Mode : uint8_t { shared, exclusive };
  class Hold;

  RangeLock() = default;
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;
  ~RangeLock();

 private:
  // The number of counted holds of some rings. Aligned, so that reactors do not share a cache line.
  struct alignas(64) Count {
    std::atomic<uint32_t> holds = 0;
  };
  static constexpr size_t kCounts = 8;

  Count& count_of(const Ring& ring);
  bool try_count(Hold& hold);
  void uncount(Hold& hold);
  bool none_counted() const;
  bool admits(const Hold& hold) const;
  void join(Hold& hold);
  void leave(Hold& hold);
  static void grant(Hold& hold, Ring& here);

  std::array<Count, kCounts> counts_;
  std::atomic<uint32_t> exclusive_ = 0;  // exclusive holds, granted or waiting
  std::mutex mutex_;
  // All holds that are not counted, granted or waiting, in order of arrival. Guarded by mutex_.
  Hold* oldest_ = nullptr;
  Hold* newest_ = nullptr;
};

// One holder: an awaitable whose destructor releases the range. Lives in a coroutine frame.
class [[nodiscard]] RangeLock::Hold final : private Parked {
 public:
  Hold(RangeLock& lock, Ring& ring, uint64_t offset, uint64_t length, Mode mode)
      : Parked(ring), lock_(lock), begin_(offset), end_(offset + length), mode_(mode) {}
  ~Hold() {
    if (counted_) lock_.uncount(*this);
    if (joined_) lock_.leave(*this);
  }

  bool await_ready() { return lock_.try_count(*this); }
  void await_suspend(std::coroutine_handle<> coroutine);
  void await_resume() const {}

 private:
  friend class RangeLock;

  bool conflicts(const Hold& other) const;

  RangeLock& lock_;
  const uint64_t begin_;
  const uint64_t end_;
  const Mode mode_;
  bool counted_ = false;
  bool joined_ = false;

  // Guarded by the mutex of the lock.
  bool granted_ = false;
  Hold* older_ = nullptr;
  Hold* newer_ = nullptr;
};

}  // namespace sluice
