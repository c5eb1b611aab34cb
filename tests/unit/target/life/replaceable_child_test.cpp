// ReplaceableChild: a child changes while requests are served; what fails changes nothing, and the
// former child ends with its last request.
#include "target/life/replaceable_child.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <thread>

#include "frontend/direct/device.hpp"
#include "support/living_target.hpp"
#include "target/control_call.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Passes requests to its child. Any verb replaces the child: by that of the verb, or by `next`.
class Switch final : public Target {
 public:
  explicit Switch(Children child) : Target(std::move(child)) {
    geometry_ = this->child(0).geometry();
    set_name("switch");
  }

  std::unique_ptr<Target> next;

  bool is_living() const override { return true; }
  bool starts_children() const override { return true; }
  Task start(Request& request, LifeCall& call) override { return child_.start(request, call); }
  Task attach(Request& request, LifeCall& call) override { return child_.attach(request, call); }
  Task detach(Request& request, LifeCall& call) override { return child_.detach(request, call); }
  Task stop(Request& request, LifeCall& call) override { return child_.stop(request, call); }
  Task control(Request& request, ControlCall& call) override {
    if (call.children.empty()) return child_.replace(request, call, std::move(next));
    return replace_and_record(request, call);
  }

 private:
  Task replace_and_record(Request& request, ControlCall& call) {
    Task replacing = child_.replace(request, call, std::move(call.children.front()));
    if (const Status replaced = co_await replacing; !replaced.ok()) co_return replaced;
    Spec own{.target = "switch"};
    own.children.push_back(call.verb.children.front());
    co_return call.publish(own);
  }

  Task do_submit(Request& request) override {
    ReplaceableChild::Use child(child_, *request.ring);
    Task serving = child->submit(request);
    co_return co_await serving;
  }

  ReplaceableChild child_{*this, 0};
};

// One block, answered when it is told to.
class Slow final : public Target {
 public:
  explicit Slow(std::atomic<int>& alive) : alive_(alive) {
    ++alive_;
    geometry_.size_bytes = 1 << 20;
    set_name("slow");
  }
  ~Slow() override { --alive_; }

  std::atomic<int> waiting = 0;
  std::atomic<bool> open = false;

 private:
  Task do_submit(Request& request) override {
    ++waiting;
    while (!open) {
      auto sleep = request.ring->sleep(std::chrono::milliseconds(1));
      [[maybe_unused]] const Status slept = co_await sleep;
    }
    auto clearing = request.ring->zero(request.data);
    co_return co_await clearing;
  }

  std::atomic<int>& alive_;
};

struct Rig {
  explicit Rig(std::unique_ptr<Target> first, uint16_t queues = 2) {
    Target::Children children;
    children.push_back(std::move(first));
    auto made = std::make_unique<Switch>(std::move(children));
    root = made.get();
    stack = std::make_unique<Stack>(std::move(made));
    EXPECT_TRUE(stack->start());
    device = std::move(*direct::Device::create(*stack, {.queues = queues, .depth = 8}));
  }
  ~Rig() {
    device.reset();
    stack->stop();
  }

  Result<JsonValue> replace(std::unique_ptr<Target> next) {
    root->next = std::move(next);
    return stack->control("/", Spec{.target = "replace"});
  }
  std::string error_of(std::unique_ptr<Target> next) {
    const auto replaced = replace(std::move(next));
    return replaced ? "" : replaced.error().text;
  }
  std::string child_name() const { return root->child(0).name(); }

  Switch* root = nullptr;
  std::unique_ptr<Stack> stack;
  std::unique_ptr<direct::Device> device;
};

std::unique_ptr<Target> living(const std::string& name, Diary& diary) {
  return std::make_unique<LivingTarget>(name, diary, open_leaf("mem:1M"));
}

TEST(ReplaceableChild, IsReplacedOnEveryRing) {
  Diary diary;
  Rig rig(living("first", diary));
  const Block ones(4096, 1);
  ASSERT_TRUE(rig.device->write(8192, ones.bytes()).ok());
  EXPECT_THAT(diary.take(),
              ElementsAre("first start", "first attach", "first attach", "first attach"));
  const auto replaced = rig.replace(living("second", diary));
  ASSERT_TRUE(replaced) << replaced.error().text;
  EXPECT_EQ(rig.child_name(), "second");
  EXPECT_EQ(rig.stack->health().targets[1].name, "second");
  const Block read(4096, 'x');
  for (int i = 0; i < 4; ++i) {  // on both queues
    ASSERT_TRUE(rig.device->read(8192, read.bytes()).ok());
    EXPECT_TRUE(read.all(0)) << "it is another disk";
  }
  // The former child is gone before the same can happen again.
  while (!rig.replace(living("third", diary))) std::this_thread::yield();
  const auto events = diary.take();
  const std::vector<std::string> begin(events.begin(), events.begin() + 4);
  EXPECT_THAT(begin,
              ElementsAre("second start", "second attach", "second attach", "second attach"));
  EXPECT_EQ(std::ranges::count(events, "first detach"), 3);
  EXPECT_EQ(std::ranges::count(events, "first stop"), 1);
}

TEST(ReplaceableChild, NoRequestFailsMeanwhile) {
  Rig rig(open_leaf("mem:1M"));
  std::atomic<bool> done = false;
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&rig, &done] {
      const Block block(4096, 'x');
      while (!done) {
        EXPECT_TRUE(rig.device->write(0, block.bytes()).ok());
        EXPECT_TRUE(rig.device->read(0, block.bytes()).ok());
      }
    });
  }
  for (int times = 0; times < 50;) {
    if (rig.replace(open_leaf("mem:1M"))) ++times;
  }
  done = true;
  for (std::thread& client : clients) client.join();
}

TEST(ReplaceableChild, TheFormerOneEndsWithItsLastRequest) {
  std::atomic<int> alive = 0;
  auto slow = std::make_unique<Slow>(alive);
  Slow& first = *slow;
  Rig rig(std::move(slow));
  const Block block(512, 'x');
  std::thread client([&] { EXPECT_TRUE(rig.device->read(0, block.bytes()).ok()); });
  while (first.waiting == 0) std::this_thread::yield();
  const auto replaced = rig.replace(open_leaf("mem:1M"));
  ASSERT_TRUE(replaced) << replaced.error().text;
  const Block other(512, 'y');
  EXPECT_TRUE(rig.device->read(0, other.bytes()).ok()) << "new requests do not wait";
  EXPECT_EQ(alive, 1);
  EXPECT_THAT(rig.error_of(open_leaf("mem:1M")), HasSubstr("still has requests in flight"));
  first.open = true;
  client.join();
  EXPECT_TRUE(block.all(0));
  while (alive != 0) std::this_thread::yield();
}

TEST(ReplaceableChild, AFailureChangesNothing) {
  for (const char* const call : {"start", "attach"}) {
    Diary diary;
    Rig rig(living("first", diary));
    diary.take();
    auto next = living("second", diary);
    static_cast<LivingTarget&>(*next).behaviour.fails = call;
    EXPECT_THAT(rig.error_of(std::move(next)), HasSubstr("second does not want to"));
    EXPECT_EQ(rig.child_name(), "first");
    const Block block(4096, 'x');
    EXPECT_TRUE(rig.device->write(0, block.bytes()).ok());
    const auto events = diary.take();
    EXPECT_THAT(events, testing::Not(Contains("first detach")));
    EXPECT_EQ(std::ranges::count(events, "second start"),
              std::ranges::count(events, "second stop"));
    const auto replaced = rig.replace(living("third", diary));
    EXPECT_TRUE(replaced) << "a later one may succeed: " << replaced.error().text;
  }
}

// It can be attached on the control reactor, but not where requests come.
TEST(ReplaceableChild, AFailureOnOneRingIsUndoneOnAll) {
  Diary diary;
  Rig rig(living("first", diary));
  diary.take();
  auto next = living("second", diary);
  static_cast<LivingTarget&>(*next).behaviour.attaches = 2;
  EXPECT_THAT(rig.error_of(std::move(next)), HasSubstr("second does not want to attach"));
  EXPECT_EQ(rig.child_name(), "first");
  const auto events = diary.take();
  EXPECT_THAT(events, testing::Not(Contains("first detach")));
  EXPECT_EQ(std::ranges::count(events, "second attach"), 2);
  EXPECT_EQ(std::ranges::count(events, "second detach"), 2);
  EXPECT_EQ(std::ranges::count(events, "second stop"), 1);
}

// A target that only has a shape.
class Shaped final : public Target {
 public:
  explicit Shaped(const Geometry& geometry) {
    geometry_ = geometry;
    set_name("other");
  }

 private:
  Task do_submit(Request&) override { return kOk; }
};

TEST(ReplaceableChild, WhatClientsWouldNoticeIsRefused) {
  const Geometry fits{.size_bytes = 1 << 20};
  Rig rig(std::make_unique<Shaped>(fits));
  const auto refused = [&rig, &fits](void (*change)(Geometry&)) {
    Geometry geometry = fits;
    change(geometry);
    return rig.error_of(std::make_unique<Shaped>(geometry));
  };
  EXPECT_EQ(refused([](Geometry& it) { it.size_bytes = 512 << 10; }),
            "other cannot replace other: it has only 524288 bytes, and 1048576 are needed");
  EXPECT_THAT(refused([](Geometry& it) { it.logical_block_bytes = 4096; }),
              HasSubstr("it has blocks of 4096 bytes, and at most 512 are possible"));
  EXPECT_THAT(refused([](Geometry& it) { it.memory_alignment_bytes = 512; }),
              HasSubstr("its requests must be aligned to 512 bytes"));
  EXPECT_THAT(refused([](Geometry& it) { it.read_only = true; }), HasSubstr("it is read-only"));
  EXPECT_THAT(refused([](Geometry& it) { it.needs_bytes = true; }),
              HasSubstr("it must see the data"));
  EXPECT_THAT(refused([](Geometry& it) { it.volatile_cache = true; }),
              HasSubstr("it has a volatile cache"));
  EXPECT_EQ(refused([](Geometry& it) { it.size_bytes = 2 << 20; }), "") << "larger is no harm";
}

TEST(ReplaceableChild, LetsGoOfTheFormerFile) {
  const TempDir directory;
  const std::string path = directory.file("a", 1 << 20);
  const std::string next = directory.file("b", 1 << 20);
  Rig rig(open_leaf(path));
  EXPECT_NE(open_error(path), "") << "it is locked";
  ASSERT_TRUE(rig.replace(open_leaf(next)));
  for (int tries = 0; tries < 1000 && !open_error(path).empty(); ++tries) usleep(1000);
  EXPECT_EQ(open_error(path), "");
  std::error_code gone;  // of the descriptor that lists them
  for (const auto& file : std::filesystem::directory_iterator("/proc/self/fd")) {
    EXPECT_NE(std::filesystem::read_symlink(file, gone), path);
  }
  ASSERT_EQ(rig.stack->files().size(), 1U);
}

class Endless final : public Job {
 public:
  Endless() : Job("endless", 1) {}
  std::atomic<uint64_t> steps = 0;

 private:
  Task step(Request&) override {
    ++steps;
    return kOk;
  }
};

TEST(ReplaceableChild, TheJobsOfTheFormerOneEnd) {
  Endless first;
  Endless second;
  Diary diary;
  {
    auto child = living("first", diary);
    static_cast<LivingTarget&>(*child).behaviour.job = &first;
    Rig rig(std::move(child));
    while (first.steps == 0) std::this_thread::yield();
    auto next = living("second", diary);
    static_cast<LivingTarget&>(*next).behaviour.job = &second;
    ASSERT_TRUE(rig.replace(std::move(next)));
    while (second.steps == 0) std::this_thread::yield();
    while (rig.stack->life().jobs().reports().size() != 1) std::this_thread::yield();
    const uint64_t before = first.steps;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(first.steps, before);
  }
  EXPECT_THAT(diary.take(), Contains("second stop"));
}

TEST(ReplaceableChild, AStackIsStoppedRightAfterTheChange) {
  for (int times = 0; times < 20; ++times) {
    Diary diary;
    {
      Rig rig(living("first", diary));
      ASSERT_TRUE(rig.replace(living("second", diary)));
    }
    const auto events = diary.take();
    for (const char* const event : {"first stop", "second stop"}) {
      EXPECT_EQ(std::ranges::count(events, event), 1) << event;
    }
    for (const char* const event : {"first detach", "second detach"}) {
      EXPECT_EQ(std::ranges::count(events, event), 3) << event;
    }
  }
}

TEST(ReplaceableChild, StartsAgainWithTheNewChild) {
  Diary diary;
  Target::Children children;
  children.push_back(living("first", diary));
  auto made = std::make_unique<Switch>(std::move(children));
  Switch& root = *made;
  Stack stack(std::move(made));
  ASSERT_TRUE(stack.start());
  root.next = living("second", diary);
  ASSERT_TRUE(stack.control("/", Spec{.target = "replace"}));
  stack.stop();
  diary.take();
  ASSERT_TRUE(stack.start());
  EXPECT_THAT(diary.take(), ElementsAre("second start", "second attach"));
  stack.stop();
}

// As `sluice ctl` does: the caller has opened the file, the record names it, and the caller goes.
TEST(ReplaceableChild, ComesWithTheVerbAndIsRecorded) {
  const TempDir directory;
  Rig rig(open_leaf(directory.file("a", 1 << 20)));
  const std::string path = directory.file("b", 1 << 20);
  const Spec verb{.target = "replace", .children = {*parse_spec(path, target_vocabulary())}};
  std::optional<Spec> recorded;
  {
    auto caller = std::move(*open_stack(path));
    caller->own_files(false);
    std::vector<Descriptor> files;
    for (const int file : caller->files()) files.emplace_back(dup(file));
    const auto answer = rig.stack->control(
        "/", verb, {.files = std::move(files), .record = [&](const Spec& spec) -> Result<void> {
                      recorded = spec;
                      return {};
                    }});
    ASSERT_TRUE(answer) << answer.error().text;
  }
  ASSERT_TRUE(recorded);
  EXPECT_EQ(recorded->children.at(0), verb.children[0]);
  EXPECT_EQ(rig.stack->spec(), *recorded);
  EXPECT_EQ(rig.stack->fingerprints()->size(), 1U);
  EXPECT_NE(open_error(path), "") << "the lock has stayed";
  const Block block(4096, 'x');
  ASSERT_TRUE(rig.device->write(0, block.bytes()).ok());
  EXPECT_EQ(run_command("head -c 1 " + path).output, "x");
}

TEST(ReplaceableChild, FilesThatDoNotFitTheVerbAreRefused) {
  const TempDir directory;
  const std::string path = directory.file("b", 1 << 20);
  Rig rig(open_leaf(directory.file("a", 1 << 20)));
  const Spec verb{.target = "replace", .children = {*parse_spec(path, target_vocabulary())}};
  for (const size_t count : {0U, 2U}) {
    std::vector<Descriptor> files;
    for (size_t i = 0; i < count; ++i) {
      files.emplace_back(open(path.c_str(), O_RDWR | O_CLOEXEC));
    }
    EXPECT_FALSE(rig.stack->control("/", verb, {.files = std::move(files)})) << count;
  }
  const Spec missing{.target = "replace",
                     .children = {*parse_spec(directory.path("c"), target_vocabulary())}};
  EXPECT_FALSE(rig.stack->control("/", missing));
  EXPECT_TRUE(rig.stack->control("/", verb)) << "without files the path is opened";
}

}  // namespace
}  // namespace sluice::test
