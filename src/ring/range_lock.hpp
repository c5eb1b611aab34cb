// RangeLock: keeps requests that touch the same bytes apart; others do not wait for each other.
//
//   RangeLock::Hold hold(lock_, *request.ring, offset, length, RangeLock::Mode::exclusive);
//   co_await hold;
//
// Part of a target, used by the threads of all its queues: who waits is resumed by its own ring.
// First come, first served among those that overlap, so nobody starves. Made for the number of
// requests that are in flight, not for thousands: it looks through all of them.
#pragma once

#include <coroutine>
#include <cstdint>
#include <mutex>

#include "ring/completion.hpp"

namespace sluice {

class Ring;

class RangeLock {
 public:
  enum class Mode : uint8_t { shared, exclusive };
  class Hold;

  RangeLock() = default;
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;
  ~RangeLock();

 private:
  bool admits(const Hold& hold) const;
  void join(Hold& hold);
  void leave(Hold& hold);

  std::mutex mutex_;
  // All holds, those that wait included, in the order in which they came. Guarded by mutex_.
  Hold* oldest_ = nullptr;
  Hold* newest_ = nullptr;
};

// One holder: an awaitable that gives the range back when it goes. Lives in a coroutine frame.
class [[nodiscard]] RangeLock::Hold final : private Message {
 public:
  Hold(RangeLock& lock, Ring& ring, uint64_t offset, uint64_t length, Mode mode)
      : lock_(lock), ring_(ring), begin_(offset), end_(offset + length), mode_(mode) {}
  ~Hold() {
    if (joined_) lock_.leave(*this);
  }

  bool await_ready() const { return false; }  // joining decides, under the mutex
  void await_suspend(std::coroutine_handle<> coroutine);
  void await_resume() const {}

 private:
  friend class RangeLock;

  bool conflicts(const Hold& other) const;
  void run() override;  // on the ring's thread, when another thread has handed over

  RangeLock& lock_;
  Ring& ring_;
  const uint64_t begin_;
  const uint64_t end_;
  const Mode mode_;
  bool joined_ = false;
  std::coroutine_handle<> coroutine_;

  // Guarded by the mutex of the lock.
  bool granted_ = false;
  Hold* older_ = nullptr;
  Hold* newer_ = nullptr;
};

}  // namespace sluice
