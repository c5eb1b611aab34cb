// LivingTarget: the smallest living target (target/target.hpp), for tests.
//
// A layer on one child. It reads a block of the child when it is started, keeps an object on each
// ring, and writes a block when it is resized or stopped, as targets with a superblock and
// connections do. It records all calls in a Diary.
#pragma once

#include <array>
#include <atomic>
#include <climits>
#include <memory>
#include <string>

#include "core/private_loan.hpp"
#include "ring/ring_local.hpp"
#include "support/diary.hpp"
#include "support/open_leaf.hpp"
#include "target/life/jobs.hpp"
#include "target/life/life_call.hpp"
#include "target/life/stack_life.hpp"
#include "target/target.hpp"

namespace sluice::test {

class LivingTarget final : public Target {
 public:
  struct Behaviour {
    std::string fails{};      // this call, with EPERM
    std::string slow{};       // this call takes 50 ms
    uint64_t shrinks_to = 0;  // when it is started to serve
    int attaches = INT_MAX;   // later calls of attach() fail
    Job* job = nullptr;
  };

  static constexpr uint64_t kBlockBytes = 4096;

  LivingTarget(std::string name, Diary& diary, std::unique_ptr<Target> child)
      : Target(list_of(std::move(child))), diary_(diary) {
    geometry_ = this->child(0).geometry();
    set_name(std::move(name));
  }

  Behaviour behaviour;

  bool is_living() const override { return true; }

  Task start(Request& request, LifeCall& call) override {
    const bool looks = call.purpose == LifeCall::Purpose::look;
    Task noting = note(request, call, looks ? "look" : "start");
    if (const Status noted = co_await noting; !noted.ok()) co_return noted;
    Task reading = transfer(request, Op::read, Direction::destination);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    if (looks) co_return kOk;
    if (behaviour.shrinks_to != 0) geometry_.size_bytes = behaviour.shrinks_to;
    control_ = call.control;
    if (behaviour.job != nullptr) call.jobs->start(*behaviour.job, *request.ring);
    co_return kOk;
  }
  Task attach(Request& request, LifeCall& call) override {
    Task noting = note(request, call, "attach");
    const Status noted = co_await noting;
    if (noted.ok()) on_ring_.put(*request.ring, std::make_unique<OnRing>());
    co_return noted;
  }
  Task detach(Request& request, LifeCall& call) override {
    on_ring_.take(*request.ring);
    return note(request, call, "detach");
  }
  Task stop(Request& request, LifeCall& call) override {
    Task writing = transfer(request, Op::write, Direction::source);
    if (const Status written = co_await writing; !written.ok()) co_return written;
    Task noting = note(request, call, "stop");
    co_return co_await noting;
  }

 private:
  struct OnRing final : RingResident {
    uint64_t requests = 0;
  };

  static Children list_of(std::unique_ptr<Target> child) {
    Children children;
    children.push_back(std::move(child));
    return children;
  }

  // The new size is durable before any client knows it.
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    auto size = child(0).resize(wanted);
    if (!size) return size;
    const auto write = [this](Request& request) { return record_size(request); };
    const Status written = control_->perform(write, LifeCall::Clock::now() + StackLife::kTimeout);
    if (!written.ok()) return sluice::fail(written.error(), name() + " cannot record its size");
    return size;
  }
  Task record_size(Request& request) {
    diary_.note(name() + " resize");
    return transfer(request, Op::write, Direction::source);
  }

  Task do_submit(Request& request) override {
    OnRing* const mine = on_ring_.of(*request.ring);
    if (mine == nullptr) return Status::from_errno(ENOTCONN);
    ++mine->requests;
    return forward(request, child(0), request.offset);
  }

  Task note(Request& request, LifeCall& call, std::string what) {
    if (behaviour.slow == what) {
      auto sleep = request.ring->sleep(std::chrono::milliseconds(50));
      [[maybe_unused]] const Status slept = co_await sleep;
    }
    if (what == "attach" && attached_++ >= behaviour.attaches) {
      co_return call.fail(EPERM, name() + " does not want to attach");
    }
    if (behaviour.fails == what) co_return call.fail(EPERM, name() + " does not want to " + what);
    diary_.note(name() + " " + what);
    co_return kOk;
  }

  Task transfer(Request& request, Op op, Direction direction) {
    PrivateLoan loan(direction, block_);
    Request block = request.child(0, loan.view());
    block.op = op;
    Task serving = child(0).submit(block);
    co_return co_await serving;
  }

  Diary& diary_;
  std::atomic<int> attached_ = 0;
  ControlReactor* control_ = nullptr;
  RingLocal<OnRing> on_ring_;
  std::array<std::byte, kBlockBytes> block_{};
};

}  // namespace sluice::test
