// Session: a front end in a program that is not a server, such as a benchmark or a test. The
// program waits for the end of the front end.
//
// Made and used by one thread, which must outlive it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "core/error.hpp"
#include "frontend/frontend.hpp"

namespace sluice {

template <typename F = Frontend>
class Session final : private FrontendListener {
 public:
  static Result<std::unique_ptr<Session>> start(std::unique_ptr<F> frontend) {
    auto session = prepare(std::move(frontend));
    if (!session) return session;
    if (auto served = (*session)->frontend().serve(); !served) {
      return std::unexpected(served.error());
    }
    return session;
  }
  // The same, but does not serve yet.
  static Result<std::unique_ptr<Session>> prepare(std::unique_ptr<F> frontend) {
    std::unique_ptr<Session> session(new Session(std::move(frontend)));
    auto keeper = Keeper::start();
    if (!keeper) return std::unexpected(keeper.error());
    session->keeper_ = std::move(*keeper);
    if (auto prepared = session->frontend_->prepare(*session, *session->keeper_); !prepared) {
      return std::unexpected(prepared.error());
    }
    return session;
  }

  F& frontend() { return *frontend_; }
  Keeper& keeper() { return *keeper_; }
  void wait_for_end() {
    wait_until([this] { return frontend_->has_ended(); });
  }
  void wait_for_pause() {
    wait_until([this] { return frontend_->has_paused(); });
  }
  // Users of the front end get errors.
  Result<void> end() {
    auto stopped = frontend_->stop(/*even_if_used=*/true);
    wait_for_end();
    auto removed = frontend_->remove();
    return stopped ? removed : stopped;
  }

 private:
  explicit Session(std::unique_ptr<F> frontend) : frontend_(std::move(frontend)) {}

  void frontend_changed() override {
    const std::scoped_lock guard(mutex_);
    changed_.notify_all();
  }
  template <typename Condition>
  void wait_until(Condition condition) {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, condition);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<Keeper> keeper_;
  std::unique_ptr<F> frontend_;
};

}  // namespace sluice
