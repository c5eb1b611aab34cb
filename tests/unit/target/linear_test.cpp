// linear: the split of requests among children, slices, and children that end in any order.
#include <gtest/gtest.h>

#include <array>

#include "support/fan_out.hpp"
#include "support/member_target.hpp"
#include "target/open.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kBlockBytes = 4096;

Result<std::unique_ptr<Target>> open_linear(Target::Children members, const Spec& spec = {}) {
  OpenContext context(false);
  return kLinearTarget.open(spec, std::move(members), context);
}

Spec slice(uint64_t offset, uint64_t size) {
  Spec spec;
  if (offset != 0) spec.set("offset", offset);
  if (size != 0) spec.set("size", size);
  return spec;
}

struct Expected {
  int file;
  uint64_t offset;
  uint64_t in_memory;
  uint32_t length;
};

class LinearTest : public testing::Test {
 protected:
  // Submits, compares the SQEs with the expected ones, and completes them.
  void check(Target& target, Op op, uint64_t offset, uint64_t length,
             const std::vector<Expected>& expected) {
    Request& request = tag_.make(op, offset, std::span(memory_).first(length));
    Task task = target.submit(request);
    ring_.settle();
    ASSERT_EQ(ring_.pending(), expected.size());
    for (const Expected& part : expected) {
      const io_uring_sqe& sqe = ring_.sqe(0);
      EXPECT_EQ(sqe.opcode, op == Op::read ? IORING_OP_READ : IORING_OP_WRITE);
      EXPECT_EQ(sqe.fd, part.file);
      EXPECT_EQ(sqe.off, part.offset);
      EXPECT_EQ(sqe.addr, reinterpret_cast<uint64_t>(memory_.data()) + part.in_memory);
      EXPECT_EQ(sqe.len, part.length);
      ring_.complete(0, static_cast<int32_t>(sqe.len));
    }
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
    if (op == Op::read) EXPECT_EQ(tag_.loan.filled_bytes(), length);
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(64 * kBlockBytes);
  ManualRing ring_;
  TestTag tag_{ring_};
};

TEST_F(LinearTest, ARequestInsideOneChildGoesThereAtItsOwnOffset) {
  auto linear = open_linear(make_members({4 * kBlockBytes, 8 * kBlockBytes, kBlockBytes}));
  ASSERT_TRUE(linear);
  EXPECT_EQ((*linear)->geometry().size_bytes, 13 * kBlockBytes);
  check(**linear, Op::read, 0, 4 * kBlockBytes, {{0, 0, 0, 4 * kBlockBytes}});
  check(**linear, Op::write, 4 * kBlockBytes, kBlockBytes, {{1, 0, 0, kBlockBytes}});
  check(**linear, Op::write, 11 * kBlockBytes, kBlockBytes, {{1, 7 * kBlockBytes, 0, kBlockBytes}});
  check(**linear, Op::read, 12 * kBlockBytes, kBlockBytes, {{2, 0, 0, kBlockBytes}});
}

TEST_F(LinearTest, ARequestAcrossChildrenIsCutAtTheirBoundaries) {
  auto linear =
      open_linear(make_members({4 * kBlockBytes, 2 * kBlockBytes, kBlockBytes, 8 * kBlockBytes}));
  ASSERT_TRUE(linear);
  check(**linear, Op::read, 3 * kBlockBytes, 2 * kBlockBytes,
        {{0, 3 * kBlockBytes, 0, kBlockBytes}, {1, 0, kBlockBytes, kBlockBytes}});
  check(**linear, Op::write, 2 * kBlockBytes, 13 * kBlockBytes,
        {{0, 2 * kBlockBytes, 0, 2 * kBlockBytes},
         {1, 0, 2 * kBlockBytes, 2 * kBlockBytes},
         {2, 0, 4 * kBlockBytes, kBlockBytes},
         {3, 0, 5 * kBlockBytes, 8 * kBlockBytes}});
}

TEST_F(LinearTest, AChildWithoutBytesIsSkipped) {
  auto linear = open_linear(make_members({0, 2 * kBlockBytes, 0, 2 * kBlockBytes}));
  ASSERT_TRUE(linear);
  check(**linear, Op::read, 0, kBlockBytes, {{1, 0, 0, kBlockBytes}});
  check(**linear, Op::read, 2 * kBlockBytes, kBlockBytes, {{3, 0, 0, kBlockBytes}});
}

TEST_F(LinearTest, ASliceBeginsInsideAChild) {
  auto linear = open_linear(make_members({4 * kBlockBytes, 4 * kBlockBytes}),
                            slice(3 * kBlockBytes, 3 * kBlockBytes));
  ASSERT_TRUE(linear);
  EXPECT_EQ((*linear)->geometry().size_bytes, 3 * kBlockBytes);
  check(**linear, Op::read, 0, 3 * kBlockBytes,
        {{0, 3 * kBlockBytes, 0, kBlockBytes}, {1, 0, kBlockBytes, 2 * kBlockBytes}});
  check(**linear, Op::write, 2 * kBlockBytes, kBlockBytes, {{1, kBlockBytes, 0, kBlockBytes}});
}

TEST_F(LinearTest, NothingIsBeyondTheEnd) {
  auto linear =
      open_linear(make_members({4 * kBlockBytes, 4 * kBlockBytes}), slice(0, 6 * kBlockBytes));
  ASSERT_TRUE(linear);
  Task task =
      (*linear)->submit(tag_.make(Op::read, 5 * kBlockBytes, std::span(memory_).first(8192)));
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EINVAL);
}

TEST_F(LinearTest, AnEmptyRequestAtTheEndIsDone) {
  auto linear = open_linear(make_members({4 * kBlockBytes, 4 * kBlockBytes}));
  ASSERT_TRUE(linear);
  check(**linear, Op::read, 8 * kBlockBytes, 0, {});
  Task task = (*linear)->submit(tag_.make(Op::discard, 8 * kBlockBytes, uint64_t{0}));
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST_F(LinearTest, AShortPartIsContinuedBeforeTheRequestEnds) {
  auto linear = open_linear(make_members({4 * kBlockBytes, 4 * kBlockBytes}));
  ASSERT_TRUE(linear);
  Task task = (*linear)->submit(
      tag_.make(Op::read, 3 * kBlockBytes, std::span(memory_).first(2 * kBlockBytes)));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 2U);
  ring_.complete(0, 1000);
  ring_.complete(0, kBlockBytes);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).fd, 0);
  EXPECT_EQ(ring_.sqe(0).off, 3 * kBlockBytes + 1000);
  EXPECT_FALSE(task.finished());
  ring_.complete(0, kBlockBytes - 1000);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST_F(LinearTest, DiscardAndZeroesAreCutWithoutData) {
  auto linear = open_linear(make_members({4 * kBlockBytes, 4 * kBlockBytes}));
  ASSERT_TRUE(linear);
  for (const Op op : {Op::discard, Op::write_zeroes}) {
    Task task = (*linear)->submit(tag_.make(op, kBlockBytes, 6 * kBlockBytes));
    ring_.settle();
    ASSERT_EQ(ring_.pending(), 2U);
    EXPECT_EQ(ring_.sqe(0).off, kBlockBytes);
    EXPECT_EQ(ring_.sqe(0).addr, 3 * kBlockBytes);
    EXPECT_EQ(ring_.sqe(1).off, 0U);
    EXPECT_EQ(ring_.sqe(1).addr, 3 * kBlockBytes);
    ring_.complete(0, 0);
    ring_.complete(0, 0);
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
  }
}

TEST_F(LinearTest, FlushGoesToEveryVolatileCache) {
  Target::Children members = make_members({kBlockBytes, kBlockBytes, kBlockBytes});
  static_cast<Member&>(*members[1]).shape().volatile_cache = false;
  auto linear = open_linear(std::move(members));
  ASSERT_TRUE(linear);
  EXPECT_TRUE((*linear)->geometry().volatile_cache);
  Task task = (*linear)->submit(tag_.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 2U);
  EXPECT_EQ(ring_.sqe(0).fd, 0);
  EXPECT_EQ(ring_.sqe(1).fd, 2);
  ring_.complete(0, 0);
  ring_.complete(0, -EIO);
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO);
}

TEST_F(LinearTest, ChildrenEndInAnyOrder) {
  for (const size_t count : {2U, 3U, 4U}) {
    Target::Children members = make_members({kBlockBytes, kBlockBytes, kBlockBytes, kBlockBytes});
    members.resize(count);
    auto linear = open_linear(std::move(members));
    ASSERT_TRUE(linear);
    for (const Op op : {Op::read, Op::write}) {
      FanOut(**linear, count, [&](TestTag& tag) -> Request& {
        return tag.make(op, 0, std::span(memory_).first(count * kBlockBytes));
      }).run_all();
    }
    FanOut(**linear, count, [&](TestTag& tag) -> Request& {
      return tag.make(Op::write_zeroes, 0, count * kBlockBytes);
    }).run_all();
    FanOut(**linear, count, [&](TestTag& tag) -> Request& {
      return tag.make(Op::flush, 0, uint64_t{0});
    }).run_all();
  }
}

TEST(LinearOpen, SaysWhatDoesNotFit) {
  const auto text_of = [](Result<std::unique_ptr<Target>> opened) {
    EXPECT_FALSE(opened);
    EXPECT_EQ(opened.error().error, EINVAL);
    return opened.error().text;
  };
  EXPECT_EQ(text_of(open_linear(make_members({8192}), slice(8192, 0))),
            "linear: cannot take 0 bytes at offset 8192 of the 8192 bytes of the children; both "
            "must be multiples of 512");
  EXPECT_EQ(text_of(open_linear(make_members({8192}), slice(4096, 8192))),
            "linear: cannot take 8192 bytes at offset 4096 of the 8192 bytes of the children; both "
            "must be multiples of 512");
  EXPECT_EQ(text_of(open_linear(make_members({8192}), slice(100, 512))),
            "linear: cannot take 512 bytes at offset 100 of the 8192 bytes of the children; both "
            "must be multiples of 512");
  Target::Children members = make_members({5120, 8192});
  static_cast<Member&>(*members[1]).shape().logical_block_bytes = 4096;
  EXPECT_EQ(text_of(open_linear(std::move(members))),
            "linear: child 1 has 5120 bytes, no multiple of the 4096-byte blocks in use here; put "
            "linear(..., size=4096) around it");
}

TEST(LinearOpen, RefusesMoreThanAnOffsetCanName) {
  auto opened = open_linear(make_members({INT64_MAX / 512 * 512, INT64_MAX / 512 * 512}));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().error, EFBIG);
}

TEST(LinearOpen, AMisalignedSliceTellsNoLieAboutPhysicalBlocks) {
  EXPECT_EQ((*open_linear(make_members({8192})))->geometry().physical_block_bytes, 4096U);
  EXPECT_EQ((*open_linear(make_members({8192}), slice(1024, 0)))->geometry().physical_block_bytes,
            1024U);
  // Offset and boundary are both odd, but only their difference matters.
  const auto shifted = open_linear(make_members({3584, 8192}), slice(512, 0));
  EXPECT_EQ((*shifted)->geometry().physical_block_bytes, 512U);
}

}  // namespace
}  // namespace sluice::test
