// In the steady state a request allocates nothing (P-20): frames, children, lists of pieces and
// vectors come from the arena of its tag; everything else is allocated before.
#include <gtest/gtest.h>

#include <array>

#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/core/allocations.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

// Reads or writes the data of its request, in one operation.
class Leaf {
 public:
  explicit Leaf(File file) : file_(file) {}

  Task submit(Request& request) {
    auto operation = request.op == Op::read
                         ? request.ring->read(file_, request.offset, request.data)
                         : request.ring->write(file_, request.offset, request.data);
    const Status status = co_await operation;
    co_return status;
  }

 private:
  File file_;
};

// Two leaves with every other 512 bytes each: scattered views, child requests, a gather.
class Stripe {
 public:
  explicit Stripe(File file) : leaves_{Leaf(file), Leaf(file)} {}

  Task submit(Request& request) {
    Gather gather(request, 2);
    for (size_t leg = 0; leg < 2; ++leg) {
      std::array<Segment, 4> pieces;
      for (uint32_t i = 0; i < 4; ++i)
        pieces[i] = {(2 * i + static_cast<uint32_t>(leg)) * 512, 512};
      requests_[leg] = request.child(leg * 65536, request.data.select(pieces, *request.arena));
      gather.add(leaves_[leg].submit(requests_[leg]));
    }
    const Status status = co_await gather;
    for (Request& child : requests_) child.data.drop();
    co_return status;
  }

 private:
  std::array<Leaf, 2> leaves_;
  std::array<Request, 2> requests_;
};

TEST(Allocations, AreCounted) {
  const uint64_t before = allocations();
  ::operator delete(::operator new(100));
  EXPECT_EQ(allocations(), before + 1);
}

class SteadyState : public testing::TestWithParam<Op> {
 protected:
  Bytes memory_ = Bytes(4096);
};

TEST(Allocations, AServerLendsItsOwnMemoryWithoutOne) {
  std::array<std::byte, 512> memory{};
  const uint64_t before = allocations();
  {
    PrivateLoan loan(Direction::source, memory);
    EXPECT_EQ(loan.view().length(), memory.size());
  }
  EXPECT_EQ(allocations(), before);
}

TEST_P(SteadyState, ARequestAllocatesNothing) {
  ManualRing ring;
  TestTag tag(ring);
  Stripe stripe({.number = 5});
  uint64_t before = 0;
  for (int round = 0; round < 100; ++round) {
    if (round == 3) before = allocations();
    Request& request = tag.make(GetParam(), 0, memory_);
    const Task task = stripe.submit(request);
    ring.settle();
    ring.complete(1, 2048);
    ring.complete(0, 2048);
    ASSERT_TRUE(task.finished());
    ASSERT_TRUE(task.status().ok());
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST_P(SteadyState, NeitherDoShortTransfersAndInterruptions) {
  ManualRing ring;
  TestTag tag(ring);
  Stripe stripe({.number = 5});
  uint64_t before = 0;
  for (int round = 0; round < 100; ++round) {
    if (round == 3) before = allocations();
    const Task task = stripe.submit(tag.make(GetParam(), 0, memory_));
    ring.settle();
    for (const int32_t result : {100, 700, -EINTR}) {
      ring.complete(0, result);
      ring.complete(0, result);
    }
    ring.complete(0, 1248);
    ring.complete(0, 1248);
    ASSERT_TRUE(task.finished());
    ASSERT_TRUE(task.status().ok());
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST_P(SteadyState, NeitherDoesWaitingForTheSubmissionQueue) {
  ManualRing ring(1, 1);
  TestTag tag(ring);
  Stripe stripe({.number = 5});
  uint64_t before = 0;
  for (int round = 0; round < 100; ++round) {
    if (round == 3) before = allocations();
    const Task task = stripe.submit(tag.make(GetParam(), 0, memory_));
    ring.settle();
    while (!task.finished()) ring.complete(0, 2048);
  }
  EXPECT_EQ(allocations(), before);
}

INSTANTIATE_TEST_SUITE_P(Both, SteadyState, testing::Values(Op::read, Op::write),
                         [](const auto& test) { return to_string(test.param); });

using SteadyStateOnKernelRing = OnKernelRing;

TEST_F(SteadyStateOnKernelRing, ARequestAllocatesNothing) {
  const Descriptor file = temporary_file(pattern(1 << 17, 1));
  Bytes memory(4096);
  TestTag tag(ring());
  Stripe stripe(file_of(file));
  uint64_t before = 0;
  for (int round = 0; round < 100; ++round) {
    if (round == 3) before = allocations();
    const Task task = stripe.submit(tag.make(round % 2 == 0 ? Op::read : Op::write, 0, memory));
    while (!task.finished()) ring().run_once(true);
    ASSERT_TRUE(task.status().ok());
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST_F(SteadyStateOnKernelRing, ARequestNeedsNoSystemCallButTheOneForItsBatch) {
  const Descriptor file = temporary_file(pattern(1 << 17, 1));
  Bytes memory(4096);
  TestTag tag(ring());
  Stripe stripe(file_of(file));
  settle();
  const uint64_t before = ring().counters().enters;
  for (int round = 0; round < 100; ++round) {
    const Task task = stripe.submit(tag.make(Op::read, 0, memory));
    while (!task.finished()) ring().run_once(true);
  }
  EXPECT_LE(ring().counters().enters - before, 200U);
}

}  // namespace
}  // namespace sluice::test
