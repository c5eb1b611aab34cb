// Stack: opening a Spec, and the effect of a failed flush on later requests.
#include "target/stack.hpp"

#include <gtest/gtest.h>

#include "support/fan_out.hpp"
#include "support/member_target.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

class StackTest : public testing::Test {
 protected:
  Status run(Op op, bool fua, int error) {
    Request& request = op == Op::flush || op == Op::discard || op == Op::write_zeroes
                           ? tag_.make(op, 0, op == Op::flush ? 0 : memory_.size())
                           : tag_.make(op, 0, memory_);
    request.fua = fua;
    Task task = stack_.submit(request);
    ring_.settle();
    if (ring_.pending() != 0) ring_.complete(0, error != 0 ? -error : full_result(ring_.sqe(0)));
    EXPECT_TRUE(task.finished());
    return task.status();
  }
  void expect_writes_refused(bool refused) {
    EXPECT_EQ(stack_.failed(), refused);
    for (const Op op : {Op::write, Op::flush, Op::discard, Op::write_zeroes}) {
      EXPECT_EQ(run(op, false, 0).error(), refused ? EIO : 0) << to_string(op);
    }
    EXPECT_TRUE(run(Op::read, false, 0).ok());
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(4096);
  ManualRing ring_;
  TestTag tag_{ring_};
  Stack stack_{std::make_unique<Member>(3, 1 << 20)};
};

TEST_F(StackTest, ServesWhatItsRootServes) {
  EXPECT_EQ(stack_.geometry().size_bytes, 1U << 20);
  expect_writes_refused(false);
}

TEST_F(StackTest, AFailedFlushEndsWritesButNotReads) {
  EXPECT_EQ(run(Op::flush, false, EIO).error(), EIO);
  expect_writes_refused(true);
}

TEST_F(StackTest, AFlushThatFindsNoRoomHasLostData) {
  EXPECT_EQ(run(Op::flush, false, ENOSPC).error(), ENOSPC);
  expect_writes_refused(true);
}

TEST_F(StackTest, AFailedDurableWriteEndsWrites) {
  EXPECT_EQ(run(Op::write, true, EIO).error(), EIO);
  expect_writes_refused(true);
}

TEST_F(StackTest, ADurableWriteThatWasRefusedOrFoundNoRoomLosesNothing) {
  for (const int error : {ENOSPC, EDQUOT, EINVAL, EROFS}) {
    EXPECT_EQ(run(Op::write, true, error).error(), error);
    expect_writes_refused(false);
  }
}

TEST_F(StackTest, APlainWriteOrReadThatFailsLosesNothing) {
  for (const Op op : {Op::read, Op::write, Op::discard, Op::write_zeroes}) {
    EXPECT_EQ(run(op, false, EIO).error(), EIO);
    expect_writes_refused(false);
  }
}

TEST_F(StackTest, FuaMeansNothingOnARead) {
  EXPECT_EQ(run(Op::read, true, EIO).error(), EIO);
  expect_writes_refused(false);
}

TEST_F(StackTest, WritesThatWereUnderWayAreNotTouched) {
  TestTag other(ring_);
  Task write = stack_.submit(other.make(Op::write, 8192, memory_));
  ring_.settle();
  Task flush = stack_.submit(tag_.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 2U);
  ring_.complete(1, -EIO);
  EXPECT_TRUE(stack_.failed());
  ring_.complete(0, 4096);
  ASSERT_TRUE(write.finished());
  EXPECT_TRUE(write.status().ok());
}

TEST(StackOpen, MakesTheTreeOfASpec) {
  const auto spec =
      parse_spec("stripe(linear(null:1M, null:1M), null:2M, chunk=4k)", target_vocabulary());
  ASSERT_TRUE(spec) << spec.error().text;
  const auto stack = Stack::open(*spec, false);
  ASSERT_TRUE(stack) << stack.error().text;
  EXPECT_EQ((*stack)->geometry().size_bytes, 4U << 20);
  ASSERT_EQ((*stack)->root().children().size(), 2U);
  EXPECT_EQ((*stack)->root().child(0).children().size(), 2U);
}

TEST(StackOpen, ReportsWhatTheDeepestTargetSays) {
  const auto spec = parse_spec("stripe(linear(null:1M, offset=2M), null:2M)", target_vocabulary());
  ASSERT_TRUE(spec) << spec.error().text;
  const auto stack = Stack::open(*spec, false);
  ASSERT_FALSE(stack);
  EXPECT_TRUE(stack.error().text.starts_with("linear: cannot take")) << stack.error().text;
}

TEST(StackOpen, ChecksASpecThatWasMadeByHand) {
  Spec spec{.target = "stripe", .options = {}, .children = {}};
  EXPECT_FALSE(Stack::open(spec, false));
  spec.target = "nothing";
  const auto stack = Stack::open(spec, false);
  ASSERT_FALSE(stack);
  EXPECT_EQ(stack.error().error, EINVAL);
}

}  // namespace
}  // namespace sluice::test
