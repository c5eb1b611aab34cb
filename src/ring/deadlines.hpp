// Deadlines: the timeouts of a ring (ring/timeout.hpp), and the one timer that serves them.
//
// Part of a Ring, used by its thread only. A timeout costs no allocation and usually no system
// call: the timer is left set when the operation that it was set for ends in time, and so expires
// in vain at most once per length of the shortest timeout. It does not keep Ring::run() from
// ending.
#pragma once

#include <chrono>
#include <cstdint>

#include "ring/completion.hpp"

namespace sluice {

class Ring;
class Timeout;

// An intrusive list of Timeouts. A Timeout is in at most one list.
struct TimeoutList {
  Timeout* first = nullptr;
  Timeout* last = nullptr;

  void insert(Timeout& timeout, Timeout* before);  // behind `before`; null: as the first
  void remove(Timeout& timeout);
};

class Deadlines {
 public:
  using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

  explicit Deadlines(Ring& ring) : ring_(ring) {}
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;

  // --- Called by Timeout.
  //
  // Inserts by deadline, searching from the latest: most timeouts of a ring have the same length.
  void add(Timeout& timeout);
  void remove(Timeout& timeout);
  // Asks the kernel to cancel the operation of `timeout`, unless `timeout` is removed before.
  void cancel(Timeout& timeout);

 private:
  // A command of this class, in flight at most once.
  class Command : public Completion {
   public:
    explicit Command(Deadlines& deadlines) : deadlines_(deadlines) {}
    bool in_flight = false;

   protected:
    ~Command() = default;

    Deadlines& deadlines_;
    __kernel_timespec time_{};
  };

  // IORING_OP_TIMEOUT, set for the earliest deadline or before it.
  class Timer final : public Command {
   public:
    using Command::Command;
    void prepare(io_uring_sqe& sqe) override;
    void complete(int32_t result, uint32_t flags) override;
  };

  // Sets a timer that is in flight to an earlier time.
  class TimerUpdate final : public Command {
   public:
    using Command::Command;
    void prepare(io_uring_sqe& sqe) override;
    void complete(int32_t result, uint32_t flags) override;
  };

  // Cancels one operation after the other. No operation waits for the result of its cancellation.
  class Canceller final : public Command {
   public:
    using Command::Command;
    void prepare(io_uring_sqe& sqe) override;
    void complete(int32_t result, uint32_t flags) override;
  };

  void arm();
  void expire(Clock::time_point passed);
  void cancel_next();

  Ring& ring_;
  TimeoutList waiting_;          // the earliest deadline first
  TimeoutList to_cancel_;        // in the order in which they expired
  Clock::time_point armed_for_;  // when the timer expires, or earlier
  Timer timer_{*this};
  TimerUpdate update_{*this};
  Canceller canceller_{*this};
};

}  // namespace sluice
