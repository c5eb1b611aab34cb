// FUSED_CMD with one slave, as posted, on a request whose completions the test makes up: S62 to
// S82.
#include "lend/fused.hpp"

#include <thread>

#include "conformance/attempts.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/mode.hpp"
#include "ring/kernel_ring.hpp"
#include "support/member_target.hpp"
#include "unit/core/allocations.hpp"

namespace sluice::test {
namespace {

using lend::Fused;
using lend::FusedSqe;
using lend::FusedVersion;
using Of = lend::Fused::Cqe::Of;
using Cqes = std::vector<lend::Fused::Cqe>;

constexpr File kFile{.number = 5};

FusedSqe on(OneRequest& one, const lend::Consumer& slave) {
  return {.master = {&one.provider, 0, 0},
          .piece = {0, static_cast<uint32_t>(one.memory.size())},
          .slave = slave};
}

Cqes cqes_of(const Fused& fused) { return {fused.cqes().begin(), fused.cqes().end()}; }

Cqes refused(OneRequest& one, const FusedSqe& sqe) {
  Fused fused(sqe);
  const Task task = fused.run(one.request);
  EXPECT_TRUE(one.untouched());
  EXPECT_EQ(fused.result(), -task.status().error());
  return cqes_of(fused);
}

Cqes master_only(int error) { return {{Of::master, -error}}; }

TEST(Rules, S65_S66_E_Fused_NotASlave) {
  OneRequest one(Op::read, 4096);
  const std::array<Segment, 1> pieces{{{0, 4096}}};
  const lend::Readv vectored{.file = kFile, .pieces = pieces};
  EXPECT_EQ(refused(one, on(one, vectored)), master_only(EOPNOTSUPP));
  Member other(6, 4096);
  const lend::ReadDevice device{.device = lend::Device(other)};
  EXPECT_EQ(refused(one, on(one, device)), master_only(EOPNOTSUPP)) << "a command as a slave";
}

TEST(Rules, S67_S70_S73_E_Fused_TheMasterFailsAndTheSlaveNeverBegins) {
  OneRequest one(Op::write, 4096);
  FusedSqe sqe = on(one, lend::Write{.file = kFile});
  sqe.skip_master = true;  // only where it succeeds
  sqe.master.device = nullptr;
  EXPECT_EQ(refused(one, sqe), master_only(EBADF));
  sqe.master = {&one.provider, 1, 0};
  EXPECT_EQ(refused(one, sqe), master_only(EINVAL)) << "no such queue";
  sqe.master = {&one.provider, 0, 4};
  EXPECT_EQ(refused(one, sqe), master_only(EINVAL)) << "no such tag";
  sqe.master = {&one.provider, 0, 1};
  EXPECT_EQ(refused(one, sqe), master_only(EINVAL)) << "no request there";
  sqe = on(one, lend::Read{.file = kFile});
  EXPECT_EQ(refused(one, sqe), master_only(EACCES));
  one.provider.withdraw();
  EXPECT_EQ(refused(one, on(one, lend::Write{.file = kFile})), master_only(ENODEV));
}

TEST(Rules, S67_NoBytesAtTheEndAreAccepted) {
  OneRequest one(Op::write, 4096);
  FusedSqe sqe = on(one, lend::Write{.file = kFile});
  sqe.piece = {4096, 0};
  EXPECT_EQ(refused(one, sqe), (Cqes{{Of::slave, 0}, {Of::master, 0}}));
  sqe.piece = {4097, 0};
  EXPECT_EQ(refused(one, sqe), (Cqes{{Of::slave, -EFAULT}, {Of::master, -EFAULT}}));
  sqe.piece = {1, UINT32_MAX};
  EXPECT_EQ(refused(one, sqe), (Cqes{{Of::slave, -EFAULT}, {Of::master, -EFAULT}}));
}

TEST(Rules, S71_S72_TheMasterHoldsTheBufferUntilTheSlaveHasEnded) {
  OneRequest one(Op::write, 4096);
  TestTag runner(one.ring);
  Fused fused(on(one, lend::Write{.file = kFile}));
  EXPECT_EQ(one.loan().references(), 2U);
  const Task task = fused.run(runner.make(Op::flush, 0, 0));
  one.ring.settle();
  EXPECT_GT(one.loan().references(), 2U);
  EXPECT_TRUE(fused.cqes().empty());
  one.provider.end(one.request);
  one.tag.finish();
  EXPECT_EQ(one.tag.returned_count, 0);
  one.ring.complete(0, 4096);
  EXPECT_EQ(cqes_of(fused), (Cqes{{Of::slave, 4096}, {Of::master, 0}}));
  EXPECT_EQ(one.tag.returned_count, 1);
}

struct SaidCase {
  FusedVersion version;
  bool skip_slave;
  bool skip_master;
  int32_t slave;  // what its operation ends with
  Cqes said;
};

TEST(Rules, S74_WhatTheTwoCqesSay) {
  const auto v3 = FusedVersion::v3;
  const auto v6 = FusedVersion::v6;
  const std::vector<SaidCase> cases{
      {v3, false, false, 4096, {{Of::slave, 4096}, {Of::master, 0}}},
      {v3, true, false, 4096, {{Of::master, 4096}}},
      {v3, false, true, 4096, {{Of::slave, 4096}}},
      {v3, true, false, -EIO, {{Of::slave, -EIO}, {Of::master, -EIO}}},
      {v3, false, true, -EIO, {{Of::slave, -EIO}, {Of::master, -EIO}}},
      {v6, false, false, 4096, {{Of::slave, 4096}, {Of::master, 0}}},
      {v6, true, false, 4096, {{Of::master, 0}}},
      {v6, true, true, 4096, {}},
      {v6, true, true, -EIO, {{Of::slave, -EIO}}},
      {v6, false, false, -EIO, {{Of::slave, -EIO}, {Of::master, 0}}},
  };
  for (const SaidCase& asked : cases) {
    OneRequest one(Op::write, 4096);
    FusedSqe sqe = on(one, lend::Write{.file = kFile});
    sqe.version = asked.version;
    sqe.skip_slave = asked.skip_slave;
    sqe.skip_master = asked.skip_master;
    Fused fused(sqe);
    const Task task = fused.run(one.request);
    one.ring.settle();
    one.ring.complete(0, asked.slave);
    EXPECT_EQ(cqes_of(fused), asked.said) << "case " << &asked - cases.data();
    EXPECT_EQ(fused.result(), asked.slave);
  }
}

TEST(Rules, S74_ACommandThatRunsAgainSaysOnlyWhatIsNew) {
  OneRequest one(Op::write, 4096);
  Fused fused(on(one, lend::Write{.file = kFile}));
  for (const int32_t result : {4096, -EIO, 4096}) {
    const Task task = fused.run(one.request);
    one.ring.settle();
    one.ring.complete(0, result);
    const int32_t told = result < 0 ? result : 0;
    EXPECT_EQ(cqes_of(fused), (Cqes{{Of::slave, result}, {Of::master, told}}));
  }
}

// On a ring of its own, where the queue's thread knows nothing of it.
TEST(Rules, S75_AnyThreadMayIssueIt) {
  const Descriptor file = make_file(0, false);
  OneRequest one(Op::write, 4096);
  int64_t result = 0;
  std::thread([&] {
    const auto ring = KernelRing::create({});
    ASSERT_TRUE(ring) << ring.error().text;
    TestTag runner(**ring);
    Fused fused(on(one, lend::Write{.file = as_file(file)}));
    const Task task = fused.run(runner.make(Op::flush, 0, 0));
    while (!task.finished()) (*ring)->run_once(true);
    result = fused.result();
  }).join();
  EXPECT_EQ(result, 4096);
  EXPECT_TRUE(has_pattern(contents(file, 4096)));
}

TEST(Rules, S64_S76_S77_SeveralOnOneRequestInTheOrderOfTheirSubmission) {
  OneRequest one(Op::write, 4096);
  const auto on_file = [&](int number) { return on(one, lend::Write{.file = {.number = number}}); };
  Fused first(on_file(11));
  Fused second(on_file(12));
  Fused third(on_file(13));
  const Task tasks[] = {first.run(one.request), second.run(one.request), third.run(one.request)};
  one.ring.settle();
  ASSERT_EQ(one.ring.pending(), 3U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(one.ring.sqe(static_cast<size_t>(i)).fd, 11 + i);
  one.ring.complete(1, 4096);
  EXPECT_FALSE(tasks[0].finished());
  EXPECT_EQ(cqes_of(second), (Cqes{{Of::slave, 4096}, {Of::master, 0}}));
  one.ring.complete(1, -EIO);
  one.ring.complete(0, 4096);
  EXPECT_EQ(third.result(), -EIO);
  EXPECT_EQ(first.result(), 4096);
  EXPECT_EQ(one.loan().references(), 2U);
}

// The command, and a step that is linked to it.
class Linked {
 public:
  explicit Linked(Fused& fused) : fused_(fused) {}
  Task run(Request& request) {
    {
      Task running = fused_.run(request);
      const Status status = co_await running;
      if (!status.ok()) co_return status;
    }
    auto syncing = request.ring->sync(kFile, true);
    co_return co_await syncing;
  }

 private:
  Fused& fused_;
};

TEST(Rules, S78_WhatIsLinkedComesAfterBothAndNotAfterAFailure) {
  for (const int32_t result : {4096, -EIO}) {
    OneRequest one(Op::write, 4096);
    Fused fused(on(one, lend::Write{.file = kFile}));
    Linked linked(fused);
    const Task task = linked.run(one.request);
    one.ring.settle();
    ASSERT_EQ(one.ring.pending(), 1U);
    EXPECT_EQ(one.ring.sqe(0).opcode, IORING_OP_WRITE);
    one.ring.complete(0, result);
    EXPECT_EQ(fused.cqes().size(), 2U);
    EXPECT_EQ(one.ring.pending(), result == 4096 ? 1U : 0U);
    if (result == 4096) one.ring.complete(0, 0);
    EXPECT_EQ(task.status().error(), result == 4096 ? 0 : EIO);
  }
}

TEST(Rules, S79_CancelledThroughTheMaster) {
  OneRequest one(Op::write, 4096);
  Fused fused(on(one, lend::Send{.socket = kFile}));
  fused.cancel(one.ring);  // not begun
  const Task task = fused.run(one.request);
  one.ring.settle();
  fused.cancel(one.ring);
  one.ring.settle();
  EXPECT_TRUE(fused.cqes().empty()) << "the kernel still has the pages";
  one.ring.perform(1);
  EXPECT_EQ(cqes_of(fused), (Cqes{{Of::slave, -ECANCELED}, {Of::master, -ECANCELED}}));
  EXPECT_EQ(one.loan().references(), 2U);
}

TEST(Rules, S81_NothingIsAllocatedThatCouldRunOut) {
  OneRequest one(Op::write, 4096);
  for (const bool warm : {false, true}) {
    const uint64_t before = allocations();
    {
      Fused fused(on(one, lend::Write{.file = kFile}));
      const Task task = fused.run(one.request);
      if (warm) EXPECT_EQ(allocations(), before);
      one.ring.settle();
      one.ring.complete(0, 4096);
    }
  }
}

TEST(Rules, S82_ZeroCopyTurnsNeedGetDataOff) {
  const uint64_t all = ~uint64_t{0};
  for (const auto mode : {ublk::BufferMode::auto_register, ublk::BufferMode::register_buf}) {
    const auto choice = ublk::choose_mode({.named = mode}, all, {});
    ASSERT_TRUE(choice);
    EXPECT_NE(choice->flags & ublk::abi::kSupportZeroCopy, 0U);
    EXPECT_EQ(choice->flags & ublk::abi::kNeedGetDataFeature, 0U);
  }
}

}  // namespace
}  // namespace sluice::test
