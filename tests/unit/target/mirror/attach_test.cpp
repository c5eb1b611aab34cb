// mirror: a leg that one of the threads of a device cannot attach is left out on all of them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "frontend/direct/device.hpp"
#include "model/mirror_disks.hpp"
#include "support/open_leaf.hpp"
#include "support/work_folder.hpp"
#include "target/mirror/mirror.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

using mirror::LegState;
using testing::HasSubstr;

// A file that some rings cannot attach.
class FussyLeg final : public Target {
 public:
  explicit FussyLeg(Children child) : Target(std::move(child)) {
    geometry_ = this->child(0).geometry();
    set_name("fussy");
  }

  std::atomic<int> failing_attach = -1;  // counted from 0: that of the control reactor
  std::atomic<int> attached = 0;

  bool is_living() const override { return true; }
  Task start(Request&, LifeCall&) override { return kOk; }
  Task attach(Request&, LifeCall& call) override {
    if (attaches_++ == failing_attach) return call.fail(ENOTCONN, "it has no connection left");
    ++attached;
    return kOk;
  }
  Task detach(Request&, LifeCall&) override {
    --attached;
    return kOk;
  }
  Task stop(Request&, LifeCall&) override { return kOk; }

 private:
  Task do_submit(Request& request) override { return forward(request, child(0), request.offset); }

  std::atomic<int> attaches_ = 0;
};

class MirrorAttach : public testing::Test {
 protected:
  MirrorAttach() {
    Spec spec{.target = "mirror"};
    Target::Children children;
    const auto contents = make_mirror_legs(shape_);
    for (size_t i = 0; i < contents.size(); ++i) {
      folder_.write(fmt::format("leg{}", i), contents[i]);
      folder_.write(fmt::format("given{}", i), contents[i]);
      spec.children.push_back(*parse_spec(path_of("given", i), target_vocabulary()));
      Target::Children child;
      child.push_back(open_leaf(path_of("leg", i)));
      auto leg = std::make_unique<FussyLeg>(std::move(child));
      legs_.push_back(leg.get());
      children.push_back(std::move(leg));
    }
    stack_ = std::make_unique<Stack>(
        std::make_unique<mirror::Mirror>(std::move(children), spec, mirror::MirrorOptions{}));
    EXPECT_TRUE(stack_->start());
  }
  ~MirrorAttach() override {
    device_.reset();
    stack_->stop();
    for (const FussyLeg* const leg : legs_) EXPECT_EQ(leg->attached, 0);
  }

  // Of two queues. Why it cannot be served; empty: it is.
  std::string serve() {
    auto made = direct::Device::create(*stack_, {.queues = 2, .depth = 4});
    if (!made) return made.error().text;
    device_ = std::move(*made);
    return {};
  }
  // The spec names other files than are used, with the same contents: they can be opened once more.
  std::string path_of(std::string_view name, size_t leg) const {
    return fmt::format("{}/{}{}", folder_.path(), name, leg);
  }
  LegState state_said_by(size_t leg, size_t of) {
    const auto id = [&](size_t i) { return record_of(i).leg; };
    return record_of(leg).find(id(of))->state;
  }
  mirror::LegRecord record_of(size_t leg) {
    return record_on_leg(shape_, folder_.read(fmt::format("leg{}", leg)));
  }

  const MirrorShape shape_;
  const WorkFolder folder_;
  std::vector<FussyLeg*> legs_;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<direct::Device> device_;
};

TEST_F(MirrorAttach, ALegThatOneRingCannotAttachIsOutBeforeTheFirstRequest) {
  legs_[1]->failing_attach = 2;  // of the second queue
  ASSERT_EQ(serve(), "");
  EXPECT_EQ(state_said_by(0, 1), LegState::out);
  EXPECT_EQ(stack_->health().state, HealthState::degraded);
  EXPECT_THAT(stack_->health().reason, HasSubstr("is missing"));

  std::vector<std::byte> data(4096, std::byte{0x5a});
  for (int i = 0; i < 4; ++i) {  // on both queues
    EXPECT_TRUE(device_->write(4096, data).ok());
    EXPECT_TRUE(device_->read(4096, data).ok());
  }
  const auto is_written = [&](const std::string& leg) {
    const auto bytes = folder_.read(leg);
    return data_on_leg(shape_, bytes)[4096] == std::byte{0x5a};
  };
  EXPECT_TRUE(is_written("leg0"));
  EXPECT_FALSE(is_written("leg1"));

  Spec readd{.target = "readd"};
  readd.set("leg", "2");
  const auto refused = stack_->control("/", readd);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text, HasSubstr("give its spec to the verb add"));

  Spec add{.target = "add"};
  add.children.push_back(*parse_spec(path_of("given", 1), target_vocabulary()));
  const auto added = stack_->control("/", add);
  ASSERT_TRUE(added) << added.error().text;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (stack_->health().state != HealthState::ok) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << stack_->health().reason;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(is_written("given1"));
  legs_.pop_back();  // the one that was fussy is gone
}

TEST_F(MirrorAttach, ALegThatNoRingHasLeftIsNeeded) {
  legs_[0]->failing_attach = 1;
  legs_[1]->failing_attach = 1;
  EXPECT_THAT(serve(), HasSubstr("it has no connection left"));
}

}  // namespace
}  // namespace sluice::test
