// Reactor: queues of several devices on one thread, start and end, and inquiries from other threads
// meanwhile.
#include "reactor/reactor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <thread>

#include "frontend/direct/queue.hpp"
#include "reactor/reactors.hpp"
#include "support/living_target.hpp"
#include "support/waited_io.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;

class Changes final : public ReactorListener {
 public:
  void reactor_changed() override { ++count; }
  std::atomic<int> count = 0;
};

std::unique_ptr<Stack> open_stack(std::string_view spec) {
  return std::move(*Stack::open(*parse_spec(spec, target_vocabulary()), false));
}

// A queue without requests, controlled by the test.
class Idle final : public Queue {
 public:
  struct Behaviour {
    int start_error = 0;
    int refusal = 0;
    bool leaves_commands = false;
  };
  Idle(const Behaviour& behaviour, QueueListener& reactor)
      : Queue(reactor), behaviour_(behaviour) {}
  Result<void> start(int) override {
    if (behaviour_.start_error == 0) return {};
    return fail(behaviour_.start_error, "not started");
  }
  void stop() override { finish(); }
  void pause() override { listener().paused(); }
  void resume() override { ++resumed; }
  Result<void> check_taken() const override {
    if (behaviour_.refusal == 0) return {};
    return fail(behaviour_.refusal, "refused");
  }
  bool leaves_commands() const override { return behaviour_.leaves_commands; }
  void list_in_flight(std::vector<InFlight>& found) const override { found.emplace_back(); }

  static inline std::atomic<int> resumed = 0;

 private:
  const Behaviour behaviour_;
};

Reactor::QueuePlan idle(const Idle::Behaviour& behaviour = {}) {
  return {.tags = 1, .make = [behaviour](KernelRing&, QueueListener& reactor) {
            return std::make_unique<Idle>(behaviour, reactor);
          }};
}

Reactor::QueuePlan direct_queue(Stack& stack, direct::Queue*& made) {
  return {.tags = 4,
          .make = [&stack, &made](KernelRing& ring,
                                  QueueListener& reactor) -> Result<std::unique_ptr<Queue>> {
            auto queue = std::make_unique<direct::Queue>(direct::Queue::Setup{.depth = 4}, ring,
                                                         stack, reactor);
            made = queue.get();
            return queue;
          }};
}

TEST(Reactor, ServesQueuesOfSeveralDevices) {
  const auto first = open_stack("mem:1M");
  const auto second = open_stack("mem:2M");
  std::array<direct::Queue*, 3> queues{};
  Changes changes;
  Reactor reactor({.name = "test",
                   .queues = {direct_queue(*first, queues[0]), direct_queue(*second, queues[1]),
                              direct_queue(*second, queues[2])}},
                  changes);
  ASSERT_TRUE(reactor.prepare());
  ASSERT_TRUE(reactor.begin(-1));
  std::vector<std::byte> memory(4096, std::byte{7});
  for (direct::Queue* const queue : queues) {
    Waited io;
    io.op = Op::write;
    io.memory = memory;
    queue->post(io);
    io.ended.acquire();
    EXPECT_TRUE(io.result.ok());
  }
  EXPECT_EQ(reactor.report().requests, 3U);
  Waited beyond;
  beyond.op = Op::read;
  beyond.offset = 1 << 20;
  beyond.memory = memory;
  queues[0]->post(beyond);
  beyond.ended.acquire();
  EXPECT_FALSE(beyond.result.ok()) << "its own device ends there";
  reactor.stop();
  reactor.join();
  EXPECT_TRUE(reactor.has_ended());
  EXPECT_EQ(changes.count, 1);
  EXPECT_EQ(reactor.report().requests, 4U);
}

TEST(Reactor, AQueueThatCannotBeMadeIsAnError) {
  Changes changes;
  const auto make = [](KernelRing&, QueueListener&) -> Result<std::unique_ptr<Queue>> {
    return fail(ENOMEM, "no room");
  };
  Reactor reactor({.name = "test", .queues = {idle(), {.tags = 1, .make = make}}}, changes);
  EXPECT_EQ(reactor.prepare().error().text, "no room");
  EXPECT_TRUE(reactor.has_ended());
  EXPECT_EQ(reactor.begin(-1).error().error, ESHUTDOWN);
}

TEST(Reactor, EndsWhereAQueueIsNotStartedOrNotTaken) {
  for (const Idle::Behaviour bad :
       {Idle::Behaviour{.start_error = EIO}, Idle::Behaviour{.refusal = EIO},
        Idle::Behaviour{.refusal = EIO, .leaves_commands = true}}) {
    Changes changes;
    Reactor reactor({.name = "test", .queues = {idle(), idle(bad), idle()}}, changes);
    ASSERT_TRUE(reactor.prepare());
    EXPECT_EQ(reactor.begin(-1).error().error, EIO);
    reactor.join();
    EXPECT_TRUE(reactor.has_ended());
  }
}

TEST(Reactor, GivesItsTargetsTheThreadsForWhatBlocks) {
  for (Offload* const threads : {Offload::create(1)->release(), static_cast<Offload*>(nullptr)}) {
    const std::unique_ptr<Offload> owned(threads);
    Changes changes;
    RingOffload* found = nullptr;
    const auto make = [&found](KernelRing& ring, QueueListener& reactor) {
      found = RingOffload::of(ring);
      return idle().make(ring, reactor);
    };
    Reactor reactor({.name = "test", .queues = {{.tags = 1, .make = make}}, .offload = threads},
                    changes);
    ASSERT_TRUE(reactor.prepare());
    EXPECT_EQ(found == nullptr, threads == nullptr);
  }
}

TEST(Reactor, EndsThoughItNeverBegan) {
  Changes changes;
  Reactor reactor({.name = "test", .queues = {idle()}}, changes);
  ASSERT_TRUE(reactor.prepare());
}

TEST(Reactor, IsPausedWhenAllOfItsQueuesAre) {
  Changes changes;
  Reactor reactor({.name = "test", .queues = {idle(), idle()}}, changes);
  ASSERT_TRUE(reactor.prepare());
  ASSERT_TRUE(reactor.begin(-1));
  Idle::resumed = 0;
  for (int times = 1; times <= 2; ++times) {
    reactor.pause();
    while (changes.count != times) std::this_thread::yield();
    EXPECT_TRUE(reactor.has_paused());
    EXPECT_TRUE(reactor.resume());
    EXPECT_EQ(reactor.in_flight()->size(), 2U) << "asked after it was resumed";
    EXPECT_EQ(Idle::resumed, 2 * times);
  }
}

// A stack with a living target, which is started, and a reactor for it.
struct LivingRig {
  LivingRig() {
    auto living = std::make_unique<LivingTarget>("it", diary, open_leaf("mem:1M"));
    target = living.get();
    stack = std::make_unique<Stack>(std::move(living));
    EXPECT_TRUE(stack->start());
    diary.take();
    reactor.emplace(
        Reactor::Setup{.name = "test", .queues = {idle(), idle()}, .stacks = {stack.get()}},
        changes);
    EXPECT_TRUE(reactor->prepare());
  }
  void pause() {
    const int before = changes.count;
    reactor->pause();
    while (changes.count == before) std::this_thread::yield();
  }

  Diary diary;
  LivingTarget* target = nullptr;
  std::unique_ptr<Stack> stack;
  Changes changes;
  std::optional<Reactor> reactor;
};

TEST(Reactor, HoldsNothingOfItsTargetsWhileItIsPaused) {
  LivingRig rig;
  ASSERT_TRUE(rig.reactor->begin(-1));
  EXPECT_THAT(rig.diary.take(), ElementsAre("it attach"));
  for (int times = 0; times < 2; ++times) {
    rig.pause();
    EXPECT_THAT(rig.diary.take(), ElementsAre("it detach"));
    EXPECT_TRUE(rig.reactor->resume());
    EXPECT_THAT(rig.diary.take(), ElementsAre("it attach"));
  }
  rig.reactor.reset();
  EXPECT_THAT(rig.diary.take(), ElementsAre("it detach"));
}

TEST(Reactor, StaysPausedWhereATargetCannotBeAttached) {
  LivingRig rig;
  ASSERT_TRUE(rig.reactor->begin(-1));
  rig.pause();
  rig.diary.take();
  rig.target->behaviour.fails = "attach";
  Idle::resumed = 0;
  EXPECT_EQ(rig.reactor->resume().error().text, "it does not want to attach");
  EXPECT_EQ(Idle::resumed, 0);
  rig.target->behaviour.fails = "";
  EXPECT_TRUE(rig.reactor->resume());
  EXPECT_EQ(Idle::resumed, 2);
}

TEST(Reactor, AResumeWaitsForAPauseThatIsUnderWay) {
  LivingRig rig;
  ASSERT_TRUE(rig.reactor->begin(-1));
  rig.target->behaviour.slow = "detach";
  rig.diary.take();
  rig.reactor->pause();
  EXPECT_TRUE(rig.reactor->resume());
  EXPECT_THAT(rig.diary.take(), ElementsAre("it detach", "it attach"));
}

TEST(Reactor, IsStoppedWhileItAttaches) {
  LivingRig rig;
  rig.target->behaviour.slow = "attach";
  std::thread stopper([&rig] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    rig.reactor->stop();
  });
  EXPECT_EQ(rig.reactor->begin(-1).error().error, ECANCELED);
  stopper.join();
  rig.reactor->join();
  EXPECT_THAT(rig.diary.take(), ElementsAre("it attach", "it detach"));
}

// A server that takes its device back replaces its reactors while its control socket reads them.
TEST(Reactors, AreReplacedWhileSomebodyLooks) {
  Changes changes;
  Reactors reactors;
  std::atomic<bool> done = false;
  std::thread looker([&] {
    while (!done) {
      for (const QueueReport& report : reactors.reports()) EXPECT_EQ(report.requests, 0U);
      EXPECT_TRUE(reactors.in_flight());
    }
  });
  for (int i = 0; i < 20; ++i) {
    Reactors::List list;
    for (int queue = 0; queue < 2; ++queue) {
      list.push_back(
          std::make_unique<Reactor>(Reactor::Setup{.name = "test", .queues = {idle()}}, changes));
      ASSERT_TRUE(list.back()->prepare());
    }
    reactors.set(std::move(list));
    for (const auto& reactor : reactors.list()) ASSERT_TRUE(reactor->begin(-1));
    reactors.clear();
  }
  done = true;
  looker.join();
}

}  // namespace
}  // namespace sluice::test
