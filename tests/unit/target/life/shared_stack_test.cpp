// SharedStack: several stacks use one, attached once to each ring, with one failure state.
#include "target/life/shared_stack.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "frontend/direct/queue.hpp"
#include "reactor/reactor.hpp"
#include "support/living_target.hpp"
#include "support/waited_io.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A part of a pool, as a thin volume is.
class Volume final : public Target {
 public:
  Volume(std::shared_ptr<SharedStack> pool, uint64_t offset, uint64_t size_bytes)
      : pool_(std::move(pool)), offset_(offset) {
    geometry_ = pool_->stack().geometry();
    geometry_.size_bytes = size_bytes;
    set_name("volume");
  }
  bool is_living() const override { return true; }
  Task attach(Request& request, LifeCall& call) override { return pool_->attach(request, call); }
  Task detach(Request& request, LifeCall& call) override { return pool_->detach(request, call); }
  Health health() const override { return pool_->health(); }

 private:
  Task do_submit(Request& request) override {
    Request moved = request.child(request.offset + offset_, request.data);
    Task serving = pool_->submit(moved);
    co_return co_await serving;
  }

  const std::shared_ptr<SharedStack> pool_;
  const uint64_t offset_;
};

// Flushes fail.
class Worn final : public Target {
 public:
  Worn() {
    geometry_.size_bytes = 1 << 20;
    geometry_.volatile_cache = true;
    set_name("worn");
  }

 private:
  Task do_submit(Request& request) override {
    return request.op == Op::flush ? Status::from_errno(EIO) : kOk;
  }
};

class NoListener final : public ReactorListener {
  void reactor_changed() override {}
};

std::unique_ptr<Stack> volume_of(const std::shared_ptr<SharedStack>& pool, uint64_t offset) {
  auto stack = std::make_unique<Stack>(std::make_unique<Volume>(pool, offset, 512 << 10));
  EXPECT_TRUE(stack->start());
  return stack;
}

// Two volumes of a pool, with a queue each on one reactor.
struct SharedRig {
  explicit SharedRig(std::unique_ptr<Target> pooled) {
    pool = *SharedStack::start("pool", std::make_unique<Stack>(std::move(pooled)));
    volumes = {volume_of(pool, 0), volume_of(pool, 512 << 10)};
  }
  ~SharedRig() {
    leave();
    for (auto& volume : volumes) volume.reset();
  }

  // Both at once: the second one waits for the first.
  bool serve() {
    Reactor::Setup plan{.name = "test"};
    for (size_t i = 0; i < 2; ++i) {
      plan.queues.push_back(queue_plan(i));
      plan.stacks.push_back(volumes[i].get());
    }
    reactor.emplace(std::move(plan), listener);
    return reactor->prepare() && reactor->begin(-1);
  }
  void leave() {
    if (!reactor) return;
    reactor->stop();
    reactor->join();
    reactor.reset();
  }

  Reactor::QueuePlan queue_plan(size_t index) {
    return {.tags = 4,
            .make = [this, index](KernelRing& ring,
                                  QueueListener& its_reactor) -> Result<std::unique_ptr<Queue>> {
              auto queue = std::make_unique<direct::Queue>(direct::Queue::Setup{.depth = 4}, ring,
                                                           *volumes[index], its_reactor);
              queues[index] = queue.get();
              return queue;
            }};
  }

  Status run(size_t volume, Op op, std::byte fill = {}) {
    Waited io;
    io.op = op;
    std::ranges::fill(memory, fill);
    if (op != Op::flush) io.memory = memory;
    queues[volume]->post(io);
    io.ended.acquire();
    return io.result;
  }

  std::shared_ptr<SharedStack> pool;
  std::array<std::unique_ptr<Stack>, 2> volumes;
  std::array<direct::Queue*, 2> queues{};
  std::vector<std::byte> memory = std::vector<std::byte>(4096);
  NoListener listener;
  std::optional<Reactor> reactor;
};

TEST(SharedStack, HasANameOnce) {
  EXPECT_EQ(SharedStack::find("pool"), nullptr);
  auto pool = *SharedStack::start("pool", std::make_unique<Stack>(open_leaf("mem:1M")));
  EXPECT_EQ(SharedStack::find("pool"), pool);
  auto second = SharedStack::start("pool", std::make_unique<Stack>(open_leaf("mem:1M")));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().error, EEXIST);
  pool.reset();
  EXPECT_EQ(SharedStack::find("pool"), nullptr);
}

TEST(SharedStack, IsStoppedWithItsLastUser) {
  Diary diary;
  auto pool = *SharedStack::start("pool", std::make_unique<Stack>(std::make_unique<LivingTarget>(
                                              "pooled", diary, open_leaf("mem:1M"))));
  EXPECT_THAT(diary.take(), ElementsAre("pooled start", "pooled attach"));
  auto user = volume_of(pool, 0);
  pool.reset();
  EXPECT_THAT(diary.take(), ElementsAre("pooled attach")) << "to the volume's control reactor";
  user.reset();
  EXPECT_THAT(diary.take(), ElementsAre("pooled detach", "pooled detach", "pooled stop"));
}

TEST(SharedStack, IsAttachedOnceToARing) {
  Diary diary;
  auto pooled = std::make_unique<LivingTarget>("pooled", diary, open_leaf("mem:1M"));
  pooled->behaviour.slow = "attach";
  SharedRig rig(std::move(pooled));
  diary.take();
  ASSERT_TRUE(rig.serve());
  EXPECT_THAT(diary.take(), ElementsAre("pooled attach"));
  EXPECT_TRUE(rig.run(0, Op::write, std::byte{1}).ok());
  EXPECT_TRUE(rig.run(1, Op::write, std::byte{2}).ok());
  EXPECT_TRUE(rig.run(0, Op::read).ok());
  EXPECT_EQ(rig.memory[0], std::byte{1});
  EXPECT_TRUE(rig.run(1, Op::read).ok());
  EXPECT_EQ(rig.memory[0], std::byte{2});
  rig.leave();
  EXPECT_THAT(diary.take(), ElementsAre("pooled detach"));
}

TEST(SharedStack, ARingThatCannotBeAttachedKeepsNothing) {
  Diary diary;
  auto pooled = std::make_unique<LivingTarget>("pooled", diary, open_leaf("mem:1M"));
  LivingTarget* const target = pooled.get();
  SharedRig rig(std::move(pooled));
  diary.take();
  target->behaviour.fails = "attach";
  EXPECT_FALSE(rig.serve());
  rig.leave();
  EXPECT_THAT(diary.take(), IsEmpty());
  target->behaviour.fails = "";
  EXPECT_TRUE(rig.serve());
  EXPECT_TRUE(rig.run(1, Op::read).ok());
}

TEST(SharedStack, AFailedFlushOfOneUserFailsAll) {
  SharedRig rig(std::make_unique<Worn>());
  ASSERT_TRUE(rig.serve());
  EXPECT_TRUE(rig.run(1, Op::write).ok());
  EXPECT_EQ(rig.run(0, Op::flush).error(), EIO);
  EXPECT_EQ(rig.run(1, Op::write).error(), EIO);
  EXPECT_EQ(rig.volumes[1]->health().state, HealthState::failed);
  EXPECT_THAT(rig.volumes[1]->health().reason, HasSubstr("a flush has failed"));
}

}  // namespace
}  // namespace sluice::test
