// null: reads are filled with zeroes, everything else succeeds at once.
#include "spec/size.hpp"
#include "support/manual_ring.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

TEST(Null, ReadsZeroesAndCountsThemAsFilled) {
  LiveStack stack("null:1M");
  const Block block(8192, 'x');
  EXPECT_TRUE(stack.read(0, block).ok());
  EXPECT_TRUE(block.all(0));
  EXPECT_EQ(stack.tag().loan.filled_bytes(), 8192U);
}

TEST(Null, ClearsPagesWithoutAnAddressThroughTheRing) {
  ManualRing ring;
  TestTag tag(ring);
  const Block block(4096, 'x');
  ring.set_buffer(2, block.bytes());
  auto stack = std::move(*open_stack("null:1M"));
  Task task = stack->submit(tag.make(Op::read, 0, block.bytes(), 2));
  ring.settle();
  ASSERT_EQ(ring.pending(), 1U);
  EXPECT_EQ(ring.sqe(0).opcode, IORING_OP_READ_FIXED);
  ring.perform(0);
  EXPECT_TRUE(task.status().ok());
  EXPECT_TRUE(block.all(0));
}

TEST(Null, AcceptsEverythingElse) {
  LiveStack stack("null:1M");
  EXPECT_TRUE(stack.write(4096, Block(4096, 'x'), /*fua=*/true).ok());
  EXPECT_TRUE(stack.flush().ok());
  EXPECT_TRUE(stack.without_data(Op::discard, 0, 4096).ok());
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 0, 4096).ok());
  EXPECT_EQ(stack.ring().counters().submitted, 1U) << "only the ring's own doorbell";
}

TEST(Null, IsRefusedOutsideItsSize) {
  LiveStack stack("null:1M");
  EXPECT_EQ(stack.read(1 << 20, Block(512)).error(), EINVAL);
  EXPECT_EQ(stack.read(100, Block(512)).error(), EINVAL);
}

TEST(Null, HasASizeWithoutBeingToldOne) {
  EXPECT_EQ(LiveStack("null()").geometry().size_bytes, 250ULL << 30);
  EXPECT_NE(open_error("null:1000").find("give 512 or 1024"), std::string::npos);
  EXPECT_NE(open_error("null:9223372036854775807").find("give 9223372036854775296"),
            std::string::npos)
      << "the next one would be too large";
  EXPECT_EQ(LiveStack("null:9223372036854775296").geometry().size_bytes, kSizeMax - 511);
}

}  // namespace
}  // namespace sluice::test
