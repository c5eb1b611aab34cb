#include "target/life/control_reactor.hpp"

#include <utility>

#include "core/keep_for_ever.hpp"
#include "core/thread.hpp"

namespace sluice {
namespace {

constexpr uint32_t kEntries = 64;
constexpr uint32_t kSlots = 16;  // for pools: one that finds none works without

}  // namespace

// Kept alive by the caller that waits, and by itself while it runs. A call that never ends is
// leaked, since the kernel may still write to its memory.
class ControlReactor::Call final : public Message, public std::enable_shared_from_this<Call> {
 public:
  Call(Ring& ring, Work work) : life_(ring), work_(std::move(work)) {}

  // One thread at a time.
  bool ends_by(Clock::time_point deadline) const {
    return ended_.wait_until(deadline) == std::future_status::ready;
  }
  Status status() { return ended_.get(); }
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
  std::future<Status> ended_ = end_.get_future();
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
  if (left_ && !left_->ends_by(Clock::now())) abandon(std::move(left_));
  {
    const std::scoped_lock guard(mutex_);
    if (ring_) ring_->stop();
  }
  if (thread_.joinable()) thread_.join();
}

Status ControlReactor::perform(Work work, Clock::time_point deadline) {
  if (std::shared_ptr<Call> left = std::exchange(left_, nullptr);
      left && !left->ends_by(deadline)) {
    abandon(std::move(left));
    return Status::from_errno(ETIMEDOUT);
  }
  std::shared_ptr<Call> call = post(std::move(work));
  if (!call) return Status::from_errno(ESHUTDOWN);
  if (call->ends_by(deadline)) return call->status();
  abandon(std::move(call));
  return Status::from_errno(ETIMEDOUT);
}

Status ControlReactor::perform_or_leave(Work work, Clock::time_point deadline) {
  if (left_ && !left_->ends_by(Clock::now())) return Status::from_errno(EBUSY);
  left_ = post(std::move(work));
  if (!left_) return Status::from_errno(ESHUTDOWN);
  if (left_->ends_by(deadline)) return std::exchange(left_, nullptr)->status();
  return Status::from_errno(EINPROGRESS);
}

// Null: the ring has ended.
std::shared_ptr<ControlReactor::Call> ControlReactor::post(Work work) {
  const std::scoped_lock guard(mutex_);
  if (!ring_) return nullptr;
  auto call = std::make_shared<Call>(*ring_, std::move(work));
  call->keep();
  ring_->post(*call);
  return call;
}

void ControlReactor::abandon(std::shared_ptr<Call> call) {
  keep_for_ever(std::move(call));
  {
    const std::scoped_lock guard(mutex_);
    if (ring_) ring_->abandon();
  }
  if (thread_.joinable()) thread_.join();
}

void ControlReactor::run(std::promise<Result<void>> ready) {
  auto ring = KernelRing::create({.entries = kEntries, .slots = kSlots});
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
