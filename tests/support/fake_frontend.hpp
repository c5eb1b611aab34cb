// FakeFrontend: a front end without a kernel; the test controls and observes each of its steps.
//
// Tests of the code above front ends make it through kFakeFrontend and a FakeKernel, of which there
// is one at a time. In records it calls itself `fuse`, so that they can be read.
#pragma once

#include <fcntl.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "frontend/frontend_type.hpp"

namespace sluice::test {

struct FakeKernel {
  FakeKernel() { current() = this; }
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;
  ~FakeKernel() { current() = nullptr; }
  static FakeKernel*& current() {
    static FakeKernel* kernel = nullptr;
    return kernel;
  }

  std::set<uint32_t> numbers;  // of other devices
  std::function<void(uint32_t)> when_made;
  std::optional<Error> make_error;
  std::optional<Error> resize_error;
  std::optional<Error> resume_error;
  bool paused = false;  // nothing is in flight
  bool ended = false;
  std::vector<std::string> calls;  // in order
};

class FakeFrontend final : public Frontend {
 public:
  Result<void> prepare(FrontendListener&, Keeper&) override { return note("prepare"); }
  Result<void> serve() override { return note("serve"); }
  bool has_ended() const override { return kernel_.ended; }
  Result<void> change_keeper(Keeper&) override { return note("change_keeper"); }
  Result<void> stop(bool) override {
    kernel_.ended = true;
    return note("stop");
  }
  Result<void> remove() override { return note("remove"); }
  Result<void> check_handover() const override { return {}; }
  std::string handover_state() override { return "state"; }
  Result<void> pause() override { return note("pause"); }
  bool has_paused() const override { return kernel_.paused; }
  Result<Handover> let_go() override {
    kernel_.calls.emplace_back("let_go");
    Handover handover{.state = "last state", .descriptors = {}};
    handover.descriptors.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
    return handover;
  }
  Result<void> resume() override {
    if (kernel_.resume_error) return std::unexpected(*kernel_.resume_error);
    return note("resume");
  }
  void leave() override { kernel_.calls.emplace_back("leave"); }
  Result<void> take(Handover) override { return note("take"); }
  Result<void> resize(uint64_t) override {
    if (kernel_.resize_error) return std::unexpected(*kernel_.resize_error);
    return note("resize");
  }
  NamedValues traces() const override {
    NamedValues traces;
    traces.set("file_system", "0:47 made");
    return traces;
  }
  std::string path() const override { return "/fake/device"; }
  std::string mode_name() const override { return "copy"; }
  std::string mode_reason() const override { return "it is a fake"; }
  std::vector<QueueReport> reports() const override {
    QueueReport report;
    report.thread_id = 4711;
    return {report};
  }
  Result<std::vector<InFlight>> in_flight() const override { return std::vector<InFlight>(); }

 private:
  Result<void> note(const char* call) {
    kernel_.calls.emplace_back(call);
    return {};
  }

  FakeKernel& kernel_ = *FakeKernel::current();
};

class FakePlan final : public FrontendPlan {
 public:
  std::string at() const override { return "/fake"; }
  NamedValues traces() const override {
    NamedValues traces;
    traces.set("made", true);
    return traces;
  }
  Result<std::unique_ptr<Frontend>> make(uint32_t id) override {
    FakeKernel& kernel = *FakeKernel::current();
    if (kernel.when_made) kernel.when_made(id);
    if (kernel.make_error) return std::unexpected(*kernel.make_error);
    if (kernel.numbers.contains(id)) return fail(EEXIST, "the kernel has this number");
    return std::make_unique<FakeFrontend>();
  }
};

inline constexpr KernelNumbers kFakeNumbers = {
    .all = [] { return std::vector<uint32_t>(); },
    .has = [](uint32_t id) { return FakeKernel::current()->numbers.contains(id); },
    .path = [](uint32_t) { return std::string("/fake/device"); }};

inline constinit const FrontendType kFakeFrontend = {
    .name = "fuse",
    .max_io_bytes = 1 << 20,
    .is_block_device = false,
    .numbers = &kFakeNumbers,
    .plan = [](Stack&, const FrontendOptions&) -> Result<std::unique_ptr<FrontendPlan>> {
      return std::make_unique<FakePlan>();
    }};

}  // namespace sluice::test
