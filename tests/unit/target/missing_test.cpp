// Missing children: a type that accepts them opens without them, hands them over as missing, and
// gets them back by a verb.
#include "target/missing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>

#include "daemon/same_backing.hpp"
#include "frontend/direct/device.hpp"
#include "target/control_call.hpp"
#include "target/life/replaceable_child.hpp"
#include "target/open.hpp"
#include "target/open_context.hpp"
#include "target/stack.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Reads from its first child that is there, as a mirror does.
class Pair final : public Target {
 public:
  explicit Pair(Children legs) : Target(std::move(legs)) { geometry_ = leg().geometry(); }

  bool is_living() const override { return true; }
  bool starts_children() const override { return true; }
  Task start(Request& request, LifeCall& call) override {
    Task first = first_.start(request, call);
    if (const Status started = co_await first; !started.ok()) {
      if (call.purpose == LifeCall::Purpose::look || child(1).missing()) co_return started;
      first_.lose(request, call);
    }
    Task second = second_.start(request, call);
    co_return co_await second;
  }
  Task attach(Request& request, LifeCall& call) override {
    Task first = first_.attach(request, call);
    if (const Status attached = co_await first; !attached.ok()) co_return attached;
    Task second = second_.attach(request, call);
    co_return co_await second;
  }
  Task detach(Request& request, LifeCall& call) override {
    Task second = second_.detach(request, call);
    [[maybe_unused]] const Status detached = co_await second;
    Task first = first_.detach(request, call);
    co_return co_await first;
  }
  Task stop(Request& request, LifeCall& call) override {
    Task second = second_.stop(request, call);
    [[maybe_unused]] const Status stopped = co_await second;
    Task first = first_.stop(request, call);
    co_return co_await first;
  }
  Task control(Request& request, ControlCall& call) override {
    return first_.replace(request, call, std::move(call.children.front()));
  }

 private:
  Target& leg() const { return child(0).missing() ? child(1) : child(0); }

  Task do_submit(Request& request) override {
    ReplaceableChild::Use use(child(0).missing() ? second_ : first_, *request.ring);
    Task serving = use->submit(request);
    co_return co_await serving;
  }

  ReplaceableChild first_{*this, 0};
  ReplaceableChild second_{*this, 1};
};

Result<std::unique_ptr<Target>> open_pair(const Spec&, Target::Children&& legs, OpenContext&) {
  if (legs[0]->missing() && legs[1]->missing()) return std::unexpected(*legs[0]->missing());
  return std::make_unique<Pair>(std::move(legs));
}

// Its start() fails where it is told to.
class Shy final : public Target {
 public:
  Shy() { geometry_.size_bytes = 1 << 20; }
  bool is_living() const override { return true; }
  Task start(Request&, LifeCall& call) override {
    const bool looks = call.purpose == LifeCall::Purpose::look;
    if (looks ? fails_to_look : fails_to_start) return call.fail(ENOTCONN, "no answer");
    (looks ? looked : started) += 1;
    return kOk;
  }
  Task stop(Request&, LifeCall&) override {
    ++stopped;
    return kOk;
  }

  static inline bool fails_to_look, fails_to_start;
  static inline int looked, started, stopped;

 private:
  Task do_submit(Request& request) override {
    auto clearing = request.ring->zero(request.data);
    co_return co_await clearing;
  }
};

Result<std::unique_ptr<Target>> open_shy(const Spec&, Target::Children&&, OpenContext&) {
  return std::make_unique<Shy>();
}

const std::vector<TargetType>& types() {
  static const std::vector<TargetType> all = {
      {.syntax = {.name = "pair", .summary = "", .children_minimum = 2, .children_maximum = 2},
       .open = open_pair,
       .accepts_missing = true},
      {.syntax = {.name = "shy", .summary = ""}, .open = open_shy},
      kLoopTarget,
      kLinearTarget,
      kMemTarget,
  };
  return all;
}

Spec spec_of(std::string_view text) {
  std::vector<TargetSyntax> vocabulary;
  for (const TargetType& type : types()) vocabulary.push_back(type.syntax);
  auto spec = parse_spec(text, vocabulary);
  EXPECT_TRUE(spec) << spec.error().text;
  return spec.value();
}

Result<std::unique_ptr<Stack>> open(const Spec& spec, InheritedFiles* inherited = nullptr) {
  OpenContext context = inherited ? OpenContext(false, std::move(*inherited)) : OpenContext(false);
  context.allow_only(types());
  return Stack::open(spec, context);
}

struct MissingTest : testing::Test {
  MissingTest() { Shy::fails_to_look = Shy::fails_to_start = false; }
  void TearDown() override { EXPECT_EQ(Shy::stopped, Shy::looked + Shy::started); }

  TempDir directory;
  const std::string gone = directory.path("gone.img");
  const std::string there = directory.file("there.img", 1 << 20);
};

TEST_F(MissingTest, ATypeThatAcceptsItOpensWithoutAChild) {
  const auto stack = *open(spec_of("pair(file:" + gone + ", file:" + there + ")"));
  EXPECT_THAT(stack->missing(), ElementsAre(Field(&MissingNode::path, "/0")));
  EXPECT_EQ(stack->missing()[0].why.error, ENOENT);
  EXPECT_THAT(stack->nodes(), SizeIs(3));
  EXPECT_THAT(stack->files(), SizeIs(1));
  const StackHealth health = stack->health();
  EXPECT_EQ(health.state, HealthState::degraded);
  EXPECT_THAT(health.reason, HasSubstr("loop(gone.img): missing: "));
}

TEST_F(MissingTest, ATypeMayRefuseAndOthersAlwaysDo) {
  const auto none = open(spec_of("pair(file:" + gone + ", file:" + gone + ")"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().error, ENOENT);
  EXPECT_FALSE(open(spec_of("linear(file:" + gone + ")")));
  EXPECT_FALSE(open(spec_of("file:" + gone)));
}

// The leg is a whole subtree. What the other leg began stays as it was.
TEST_F(MissingTest, AChildThatDoesNotStartIsMissingToo) {
  Shy::fails_to_look = true;
  const auto stack = *open(spec_of("pair(linear(shy()), file:" + there + ")"));
  EXPECT_THAT(stack->missing(), ElementsAre(Field(&MissingNode::path, "/0")));
  EXPECT_EQ(stack->missing()[0].why.text, "no answer");
  EXPECT_THAT(stack->files(), SizeIs(1));
  EXPECT_TRUE(stack->start());
}

TEST_F(MissingTest, AChildLostBetweenOpenAndStartIsReplacedByAMissingOne) {
  const auto stack = *open(spec_of("pair(shy(), file:" + there + ")"));
  EXPECT_THAT(stack->missing(), IsEmpty());
  Shy::fails_to_start = true;
  ASSERT_TRUE(stack->start());
  EXPECT_THAT(stack->missing(), ElementsAre(Field(&MissingNode::path, "/0")));
  stack->stop();
  ASSERT_TRUE(stack->start()) << "again, without it";
}

TEST_F(MissingTest, TheNextServerMissesTheSameChildren) {
  const Spec spec = spec_of("pair(file:" + gone + ", file:" + there + ")");
  const auto stack = *open(spec);
  std::vector<Descriptor> files;
  for (const int file : stack->files()) files.emplace_back(fcntl(file, F_DUPFD_CLOEXEC, 0));
  ASSERT_EQ(directory.file("gone.img", 1 << 20), gone) << "it is back: the next server ignores it";
  InheritedFiles inherited{.files = std::move(files), .missing = stack->missing()};
  const auto next = open(spec, &inherited);
  ASSERT_TRUE(next) << next.error().text;
  EXPECT_THAT((*next)->missing(), ElementsAre(Field(&MissingNode::path, "/0")));
  EXPECT_EQ((*next)->missing()[0].why.text, stack->missing()[0].why.text);
  InheritedFiles nothing{.files = {}, .missing = stack->missing()};
  EXPECT_FALSE(open(spec, &nothing)) << "its other leg has no file";
}

TEST_F(MissingTest, AVerbBringsAChildBackUnderRequests) {
  const auto stack = *open(spec_of("pair(file:" + gone + ", file:" + there + ")"));
  ASSERT_TRUE(stack->start());
  auto device = *direct::Device::create(*stack, {.queues = 1, .depth = 4});
  directory.file("small.img", 512 << 10);
  const auto replace = [&](const std::string& file) {
    return stack->control("/", Spec{.target = "replace", .children = {spec_of("file:" + file)}});
  };
  const auto small = replace(directory.path("small.img"));
  ASSERT_FALSE(small);
  EXPECT_THAT(small.error().text, HasSubstr("it has only 524288 bytes, and 1048576 are needed"));
  ASSERT_TRUE(replace(directory.file("back.img", 1 << 20)));
  EXPECT_THAT(stack->missing(), IsEmpty());
  device.reset();
  stack->stop();
}

// The files of a record are found by the paths of their targets.
TEST_F(MissingTest, ARecordWithAMissingChildIsCompared) {
  const Spec spec = spec_of("pair(file:" + gone + ", file:" + there + ")");
  DeviceRecord record;
  record.files = *(*open(spec))->fingerprints();
  ASSERT_THAT(record.files, ElementsAre(Field(&Fingerprint::target, "/1")));
  ASSERT_EQ(directory.file("gone.img", 1 << 20), gone);
  auto stack = *open(spec);
  EXPECT_TRUE(check_same_files(*stack, record)) << "the first one was not known";
  record.files[0].target = "/0";
  EXPECT_FALSE(check_same_files(*stack, record));
  record.files = *stack->fingerprints();
  stack.reset();
  ASSERT_EQ(unlink(gone.c_str()), 0);
  EXPECT_TRUE(check_same_files(**open(spec), record));
}

}  // namespace
}  // namespace sluice::test
