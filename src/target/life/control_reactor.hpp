// ControlReactor: the reactor of a stack's control path, a thread with a ring on which targets are
// started and stopped and their jobs run.
//
// Owned by the Stack, or by its opener. Exists only for stacks whose targets ask for one.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "core/error.hpp"
#include "core/task.hpp"
#include "ring/kernel_ring.hpp"
#include "target/life/life_call.hpp"

namespace sluice {

class ControlReactor {
 public:
  using Clock = LifeCall::Clock;
  using Work = std::function<Task(Request&)>;

  // EAGAIN, ENOMEM, ENOSYS, EPERM: no thread, or no ring.
  static Result<std::unique_ptr<ControlReactor>> start();
  ControlReactor(const ControlReactor&) = delete;
  ControlReactor& operator=(const ControlReactor&) = delete;
  // Waits for work in flight, unless a call has timed out and has not ended since.
  ~ControlReactor();

  // Runs `work` on the reactor and waits for its end. ETIMEDOUT: it has not ended by `deadline`;
  // the ring is then abandoned, nothing runs on it any more, and all later calls return ESHUTDOWN.
  // Work that was left ends first, or all is abandoned by then: it may use what `work` stops.
  // Must not be called on the reactor's own thread.
  Status perform(Work work, Clock::time_point deadline);
  // The same, but work that has not ended by `deadline` goes on: EINPROGRESS. What it uses must
  // live as long. EBUSY: earlier work goes on still. Control path, one call at a time.
  Status perform_or_leave(Work work, Clock::time_point deadline);

 private:
  class Call;

  ControlReactor() = default;
  void run(std::promise<Result<void>> ready);
  std::shared_ptr<Call> post(Work work);
  void abandon(std::shared_ptr<Call> call);

  std::shared_ptr<Call> left_;        // may go on
  std::mutex mutex_;                  // guards ring_ against posts while it ends
  std::unique_ptr<KernelRing> ring_;  // made and ended by its thread
  std::thread thread_;
};

}  // namespace sluice
