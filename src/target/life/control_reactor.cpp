#include "target/life/control_reactor.hpp"

#include <utility>

#include "core/keep_for_ever.hpp"
#include "core/thread.hpp"

namespace sluice {
namespace {

constexpr uint32_t kEntries = 64;

}  // namespace

// Kept alive by the caller that waits, and by itself while it runs. A call that never ends is
// leaked, since the kernel may still write to its memory.
class ControlReactor::Call final : public Message, public std::enable_shared_from_this<Call> {
 public:
  Call(Ring& ring, Work work) : life_(ring), work_(std::move(work)) {}

  std::future<Status> end() { return end_.get_future(); }
  void run() override { serve(shared_from_this()); }
  void keep() { self_ = shared_from_this(); }

 private:
  static Service serve(std::shared_ptr<Call> call) {
    call->self_.reset();
    Status status;
    {
      Task working = call->begin();
      status = co_await working;
    }
    call->end_.set_value(status);
  }
  Task begin() {
    try {
      return work_(life_.request);
    } catch (...) {
      return status_of_exception();
    }
  }

  LifeRequest life_;
  const Work work_;
  std::promise<Status> end_;
  std::shared_ptr<Call> self_;  // while it is posted
};

Result<std::unique_ptr<ControlReactor>> ControlReactor::start() {
  std::unique_ptr<ControlReactor> reactor(new ControlReactor);
  std::promise<Result<void>> ready;
  auto made = ready.get_future();
  auto thread = start_thread(
      "sluice-life",
      [self = reactor.get(), ready = std::move(ready)] mutable { self->run(std::move(ready)); });
  if (!thread) return std::unexpected(thread.error());
  reactor->thread_ = std::move(*thread);
  if (auto result = made.get(); !result) return std::unexpected(result.error());
  return reactor;
}

ControlReactor::~ControlReactor() {
  {
    const std::scoped_lock guard(mutex_);
    if (ring_) ring_->stop();
  }
  if (thread_.joinable()) thread_.join();
}

Status ControlReactor::perform(Work work, Clock::time_point deadline) {
  std::future<Status> end;
  std::shared_ptr<Call> call;
  {
    const std::scoped_lock guard(mutex_);
    if (!ring_) return Status::from_errno(ESHUTDOWN);
    call = std::make_shared<Call>(*ring_, std::move(work));
    end = call->end();
    call->keep();
    ring_->post(*call);
  }
  if (end.wait_until(deadline) == std::future_status::ready) return end.get();
  abandon();
  keep_for_ever(std::move(call));
  return Status::from_errno(ETIMEDOUT);
}

void ControlReactor::abandon() {
  {
    const std::scoped_lock guard(mutex_);
    if (ring_) ring_->abandon();
  }
  if (thread_.joinable()) thread_.join();
}

void ControlReactor::run(std::promise<Result<void>> ready) {
  auto ring = KernelRing::create({.entries = kEntries});
  if (!ring) {
    ready.set_value(std::unexpected(ring.error()));
    return;
  }
  {
    const std::scoped_lock guard(mutex_);
    ring_ = std::move(*ring);
  }
  ready.set_value({});
  ring_->run();
  const std::scoped_lock guard(mutex_);
  ring_.reset();
}

}  // namespace sluice
