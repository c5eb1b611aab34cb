#include "target/rbd/aside.hpp"

#include <utility>

#include "core/request.hpp"
#include "core/thread.hpp"
#include "ring/ring.hpp"

namespace sluice::rbd {
namespace {

constexpr std::chrono::milliseconds kLookAgain{5};

}  // namespace

Result<std::shared_ptr<Aside>> Aside::start(const std::string& name,
                                            std::move_only_function<void()> work) {
  auto aside = std::make_shared<Aside>();
  auto thread = start_thread(name, [aside, work = std::move(work)] mutable {
    work();
    work = nullptr;  // what it owns ends before the call
    const std::scoped_lock guard(aside->mutex_);
    aside->ended_ = true;
    aside->changed_.notify_all();
  });
  if (!thread) return std::unexpected(thread.error());
  thread->detach();
  return aside;
}

// It asks again and again, so that nothing of the thread refers to a ring, which may end earlier.
Task Aside::wait(Request& request, Clock::time_point deadline) {
  while (!has_ended()) {
    if (Clock::now() >= deadline) co_return Status::from_errno(ETIMEDOUT);
    auto sleeping = request.ring->sleep(kLookAgain);
    [[maybe_unused]] const Status slept = co_await sleeping;
  }
  co_return kOk;
}

Status Aside::wait(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  const bool ended = changed_.wait_until(lock, deadline, [this] { return ended_; });
  return Status::from_errno(ended ? 0 : ETIMEDOUT);
}

bool Aside::has_ended() {
  const std::scoped_lock guard(mutex_);
  return ended_;
}

}  // namespace sluice::rbd
