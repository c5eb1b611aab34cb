// The table of registered buffers by itself: its limits, and when what is in it goes back (S90, S94
// to S96, S103 to S105).
#include <gmock/gmock.h>

#include <array>

#include "conformance/buffer_commands.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/core/allocations.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"

namespace sluice::test {
namespace {

using lend::BufferTable;

constexpr uint32_t kBytes = 4096;
constexpr Segment kAll{0, kBytes};

// A table, its ring, a buffer in slot 0 that nothing but the table holds, and commands on it.
class Table {
 public:
  Table() {
    EXPECT_TRUE(table.install(0, lent.loan.view()).ok());
    lent.close();
  }

  Task use(lend::UseBuf& command) { return command.run(tag.make(Op::flush, 0, 0)); }
  // From slot 0 to a file.
  lend::UseBuf writing() { return {table, 0, kAll, lend::Write{.file = {.number = 5}}}; }

  ManualRing ring;
  TestTag tag{ring};
  Bytes memory = pattern(kBytes, 1);
  Lent lent{Direction::source, memory};
  BufferTable table = make_table(4);  // ends before its buffers do
};

TEST(Rules, S95_P1_P2_ReturnedWhenTheSlotIsEmptyAndTheLastUseHasEnded) {
  for (const bool put_first : {true, false}) {
    SCOPED_TRACE(put_first);
    Table on;
    lend::UseBuf first = on.writing();
    lend::UseBuf second = on.writing();
    TestTag other(on.ring);
    const Task one = on.use(first);
    const Task two = second.run(other.make(Op::flush, 0, 0));
    on.ring.settle();
    if (put_first) EXPECT_TRUE(on.table.remove(0).ok());
    on.ring.complete(1, kBytes);
    EXPECT_EQ(on.lent.returned_count(), 0);
    on.ring.complete(0, kBytes);
    EXPECT_EQ(on.lent.returned_count(), put_first ? 1 : 0);
    if (!put_first) EXPECT_TRUE(on.table.remove(0).ok());
    EXPECT_EQ(on.lent.returned_count(), 1) << "once, for all of it";
  }
}

TEST(Rules, S95_P2_ReturnedOnceAlsoWhenItsUserFails) {
  Table on;
  lend::UseBuf writing = on.writing();
  const Task task = on.use(writing);
  on.ring.settle();
  EXPECT_TRUE(on.table.remove(0).ok());
  on.ring.complete(0, -EIO);
  EXPECT_EQ(writing.result(), -EIO);
  EXPECT_EQ(on.lent.returned_count(), 1);
}

// The nodes of 2023 were given back in turn: one that was in use kept all that came after it.
TEST(Rules, S96_P2_NothingWaitsForTheUsersOfAnotherBuffer) {
  Table on;
  Lent slow(Direction::source, on.memory);
  EXPECT_TRUE(on.table.install(1, slow.loan.view()).ok());
  slow.close();
  lend::UseBuf stuck(on.table, 1, kAll, lend::Write{.file = {.number = 5}});
  const Task task = on.use(stuck);
  on.ring.settle();
  EXPECT_TRUE(on.table.remove(1).ok());
  EXPECT_TRUE(on.table.remove(0).ok());
  EXPECT_EQ(on.lent.returned_count(), 1);
  EXPECT_EQ(slow.returned_count(), 0);
  on.ring.complete(0, kBytes);
  EXPECT_EQ(slow.returned_count(), 1);
}

TEST(Rules, S97_P2_WhatIsReplacedGoesBackAtOnce) {
  Table on;
  Lent next(Direction::source, on.memory);
  EXPECT_TRUE(on.table.install(0, next.loan.view(), BufferTable::Into::any).ok());
  EXPECT_EQ(on.lent.returned_count(), 1);
  EXPECT_EQ(on.table.holder(0), &next.loan);
  EXPECT_TRUE(on.table.remove(0).ok());
}

TEST(Rules, S90_WhatCannotBeInstalledGoesStraightBack) {
  Table on;
  for (const uint32_t slot : {0U, on.table.slots()}) {
    Lent refused(Direction::source, on.memory);
    View only = refused.loan.view();
    refused.close();
    EXPECT_EQ(on.table.install(slot, std::move(only)).error(), slot == 0 ? EBUSY : EINVAL);
    EXPECT_EQ(refused.returned_count(), 1);
  }
  EXPECT_EQ(on.table.holder(0), &on.lent.loan) << "the table is as it was";
}

// As posted such an operation took the base address, 0, for a pointer; today it is EFAULT.
TEST(Rules, S94_E_UseBuf_ConsumerNeedsAnAddress) {
  Table on;
  Lent kernel_only(Direction::source, kBytes, 1);
  EXPECT_TRUE(on.table.install(1, kernel_only.loan.view()).ok());
  on.ring.change_abilities({});
  lend::UseBuf sending(on.table, 1, kAll, lend::Send{.socket = {.number = 5}});
  const Task task = on.use(sending);
  on.ring.settle();
  EXPECT_EQ(sending.result(), -EOPNOTSUPP);
  EXPECT_EQ(on.ring.pending(), 0U) << "nothing was submitted";
  EXPECT_TRUE(on.table.remove(1).ok());
}

TEST(Rules, S103_P18_ATableHasUpTo16384Slots) {
  EXPECT_FALSE(BufferTable::create(0));
  EXPECT_FALSE(BufferTable::create(16385));
  Bytes memory(kBytes);
  Lent lent(Direction::source, memory);
  auto table = BufferTable::create(16384);
  ASSERT_TRUE(table);
  Arena arena;
  for (uint32_t slot = 0; slot < table->slots(); ++slot) {
    ASSERT_EQ(table->holder(slot), nullptr) << "sparse";
    ASSERT_TRUE(table->install(slot, lent.loan.view()).ok());
  }
  EXPECT_EQ(table->use(16383, kAll, arena).length(), kBytes);
  EXPECT_EQ(table->install(16384, lent.loan.view()).error(), EINVAL);
}

TEST(Rules, S104_P15_TheEndOfATableReturnsWhatIsLeft) {
  Bytes memory(kBytes);
  Lent first(Direction::source, memory);
  Lent second(Direction::source, memory);
  {
    BufferTable table = make_table(4);
    EXPECT_TRUE(table.install(1, first.loan.view()).ok());
    EXPECT_TRUE(table.install(2, second.loan.view()).ok());
    first.close();
    second.close();
    EXPECT_EQ(first.returned_count() + second.returned_count(), 0);
  }
  EXPECT_EQ(first.returned_count(), 1);
  EXPECT_EQ(second.returned_count(), 1);
}

TEST(Rules, S104_P4_OneThatIsInUseThenReturnsWithItsLastUser) {
  Table on;
  lend::UseBuf writing = on.writing();
  const Task task = on.use(writing);
  on.ring.settle();
  on.table = make_table(1);
  EXPECT_EQ(on.lent.returned_count(), 0);
  on.ring.complete(0, kBytes);
  EXPECT_EQ(on.lent.returned_count(), 1);
}

// The caches of descriptors that the series needed are not needed.
TEST(Rules, S105_P20_GetUseAndPutAllocateNothing) {
  ManualRing ring;
  TestTag tag(ring);
  BufferTable table = make_table(4);
  Bytes memory(kBytes);
  lend::Provider provider(1, 1);
  uint64_t before = 0;
  for (int round = 0; round < 100; ++round) {
    if (round == 3) before = allocations();
    Request& request = tag.make(Op::write, 0, memory);
    provider.begin(request);
    lend::GetBuf getting(table, 0, provider, {}, kBytes);
    lend::UseBuf writing(table, 0, kAll, lend::Write{.file = {.number = 5}});
    lend::PutBuf putting(table, 0);
    const std::array<lend::Step, 3> steps{getting, {writing, lend::Link::soft}, putting};
    lend::Chain chain(steps);
    const Task running = chain.run(request);
    ring.settle();
    ring.complete(0, kBytes);
    ASSERT_TRUE(running.finished() && running.status().ok());
    provider.end(request);
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

}  // namespace
}  // namespace sluice::test
