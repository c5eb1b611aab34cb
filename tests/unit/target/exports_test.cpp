// exports: several disks of one stack, each with its name, its requests and its own failure.
#include "target/exports.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target/registry.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::HasSubstr;

// On a ring that serves `stack`.
Status submit(LiveQueue& queue, Disk& disk, Op op, uint64_t offset, const Block& block) {
  Request& request = op == Op::flush ? queue.tag().make(op, 0, uint64_t{0})
                                     : queue.tag().make(op, offset, block.bytes());
  Task serving = disk.submit(request);
  while (!serving.finished()) queue.ring().run_once(/*wait=*/true);
  request.data.drop();
  return serving.status();
}

TEST(ExportsTest, EachChildIsADisk) {
  auto stack = std::move(*open_stack("exports(mem:1M, null:2M, names=a+b.2)"));
  ASSERT_EQ(stack->disks().size(), 2U);
  EXPECT_EQ(stack->disks()[0]->name(), "a");
  EXPECT_EQ(stack->disks()[1]->name(), "b.2");
  EXPECT_EQ(stack->disks()[0]->geometry().size_bytes, 1U << 20);
  EXPECT_EQ(stack->disks()[1]->geometry().size_bytes, 2U << 20);
  EXPECT_EQ(stack->geometry().size_bytes, 3U << 20);
}

TEST(ExportsTest, AnyOtherStackIsOneDisk) {
  auto stack = std::move(*open_stack("linear(mem:1M, mem:1M)"));
  ASSERT_EQ(stack->disks().size(), 1U);
  EXPECT_EQ(stack->disk().name(), "");
  EXPECT_EQ(&stack->disk().target(), &stack->root());
}

TEST(ExportsTest, ADiskHasItsOwnBytes) {
  auto stack = std::move(*open_stack("exports(mem:1M, mem:1M, names=a+b)"));
  LiveQueue queue(*stack);
  Disk& first = *stack->disks()[0];
  Disk& second = *stack->disks()[1];
  EXPECT_TRUE(submit(queue, first, Op::write, 4096, Block(4096, 7)).ok());
  const Block back(4096, 1);
  EXPECT_TRUE(submit(queue, second, Op::read, 4096, back).ok());
  EXPECT_TRUE(back.all(0));
  EXPECT_TRUE(submit(queue, first, Op::read, 4096, back).ok());
  EXPECT_TRUE(back.all(7));
}

TEST(ExportsTest, ADiskFailsAlone) {
  TempDir directory;
  auto stack = std::move(*open_stack("exports(fault(" + directory.file("disk.img", 1 << 20) +
                                     ", errors=100%, ops=flush), mem:1M, names=a+b)"));
  LiveQueue queue(*stack);
  Disk& bad = *stack->disks()[0];
  Disk& good = *stack->disks()[1];
  const Block block(4096);
  EXPECT_EQ(submit(queue, bad, Op::flush, 0, block).error(), EIO);
  EXPECT_TRUE(bad.failed());
  EXPECT_TRUE(stack->failed());
  EXPECT_FALSE(good.failed());
  EXPECT_EQ(submit(queue, bad, Op::write, 0, block).error(), EIO);
  EXPECT_TRUE(submit(queue, good, Op::write, 0, block).ok());
  EXPECT_TRUE(submit(queue, good, Op::flush, 0, block).ok());
  EXPECT_THAT(stack->health().reason, HasSubstr("a: a flush has failed"));
}

// As the next server does.
TEST(ExportsTest, TheFailedDisksAreNotedAlone) {
  auto stack = std::move(*open_stack("exports(mem:1M, mem:1M, mem:1M, names=a+b+c)"));
  EXPECT_TRUE(stack->failed_disks().empty());
  stack->note_failure({1});
  EXPECT_EQ(stack->failed_disks(), std::vector<size_t>{1});
  EXPECT_FALSE(stack->disks()[0]->failed());
  stack->note_failure();
  EXPECT_EQ(stack->failed_disks().size(), 3U);
}

TEST(ExportsTest, GrowTogether) {
  TempDir directory;
  const std::string file = directory.file("disk.img", 1 << 20);
  auto stack = std::move(*open_stack("exports(" + file + ", mem:1M, names=a+b)"));
  EXPECT_EQ(stack->resize(64 << 20).error().error, EOPNOTSUPP);
  ASSERT_EQ(truncate(file.c_str(), 4 << 20), 0);
  const auto size = stack->resize(std::nullopt);
  ASSERT_TRUE(size) << size.error().text;
  EXPECT_EQ(*size, 5U << 20);
  EXPECT_EQ(stack->disks()[0]->geometry().size_bytes, 4U << 20);
}

TEST(ExportsTest, AreTheWholeSpecOnly) {
  EXPECT_THAT(open_error("linear(exports(mem:1M, mem:1M, names=a+b))"),
              HasSubstr("can only be the whole spec"));
}

TEST(ExportsTest, NeedDifferentPlainNames) {
  EXPECT_THAT(open_error("exports(mem:1M, mem:1M, names=a)"), HasSubstr("1 names for 2 disks"));
  EXPECT_THAT(open_error("exports(mem:1M, mem:1M, names=a+a)"), HasSubstr("two have the name"));
  EXPECT_THAT(open_error("exports(mem:1M, names=\"a/b\")"), HasSubstr("cannot be a name"));
  EXPECT_THAT(open_error("exports(mem:1M)"), HasSubstr("names"));
  for (const char* const name : {"a", "A-b_c.9", "-"}) EXPECT_TRUE(is_export_name(name));
  for (const char* const name : {"", "a b", "a=b", "a+b", "\xc3\xa4"}) {
    EXPECT_FALSE(is_export_name(name));
  }
}

TEST(ExportsTest, TheSpecCanBeWrittenAndReadAgain) {
  const auto child = parse_spec("mem:1M", target_vocabulary());
  ASSERT_TRUE(child);
  const Spec spec = exports_spec({"a", "b"}, {*child, *child});
  ASSERT_TRUE(check_spec(spec, target_vocabulary()));
  const std::string text = to_text(spec, target_vocabulary());
  EXPECT_EQ(parse_spec(text, target_vocabulary()), spec) << text;
}

}  // namespace
}  // namespace sluice::test
