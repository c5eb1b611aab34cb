#include "core/request.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string_view>

#include "core/arena.hpp"
#include "unit/core/lent.hpp"

namespace sluice::test {
namespace {

TEST(Request, OnlyReadsAndWritesHaveData) {
  for (const Op op : {Op::read, Op::write, Op::flush, Op::discard, Op::write_zeroes}) {
    Request request;
    request.op = op;
    EXPECT_EQ(request.has_data(), op == Op::read || op == Op::write) << to_string(op);
  }
}

TEST(Request, EveryOperationHasAName) {
  for (int op = 0; op < kOpCount; ++op) {
    EXPECT_NE(std::string_view(to_string(static_cast<Op>(op))), "unknown") << op;
  }
  EXPECT_EQ(std::string_view(to_string(static_cast<Op>(kOpCount))), "unknown");
}

TEST(Request, AChildKeepsOperationFlagsAndPlace) {
  Arena arena;
  ReadyList* const ready = nullptr;
  const Request parent{.op = Op::write_zeroes,
                       .fua = true,
                       .may_unmap = false,
                       .offset = 7,
                       .length = 9,
                       .data = {},
                       .ring = nullptr,
                       .arena = &arena,
                       .ready = ready};
  const Request child = parent.child(1 << 20, uint64_t{1} << 40);
  EXPECT_EQ(child.op, Op::write_zeroes);
  EXPECT_TRUE(child.fua);
  EXPECT_FALSE(child.may_unmap);
  EXPECT_EQ(child.offset, 1U << 20);
  EXPECT_EQ(child.length, uint64_t{1} << 40);
  EXPECT_EQ(child.arena, &arena);
  EXPECT_EQ(child.data.length(), 0U);
}

TEST(Request, AChildWithDataIsAsLongAsItsData) {
  Arena arena;
  std::array<std::byte, 100> memory{};
  Lent lent(Direction::source, memory);
  Request parent;
  parent.op = Op::write;
  parent.data = lent.loan.view();
  const Request child = parent.child(4096, parent.data.slice(10, 20, arena));
  EXPECT_EQ(child.offset, 4096U);
  EXPECT_EQ(child.length, 20U);
  EXPECT_EQ(child.data.segments()[0].offset, 10U);
}

}  // namespace
}  // namespace sluice::test
