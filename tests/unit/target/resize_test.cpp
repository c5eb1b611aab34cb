// Target::resize and Stack::resize: which targets grow, which refuse, and queues that read the size
// meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "support/member_target.hpp"
#include "target/open.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class ResizeTest : public testing::Test {
 protected:
  std::string grow(Stack& stack, std::optional<uint64_t> wanted) {
    const auto size = stack.resize(wanted);
    if (!size) return size.error().text;
    EXPECT_EQ(*size, uint64_t{stack.geometry().size_bytes});
    return std::to_string(*size / kMiB) + "M";
  }
  // Opens and resizes a stack; returns its size or the error.
  std::string grown(const std::string& spec, std::optional<uint64_t> wanted) {
    auto stack = open_stack(spec);
    return stack ? grow(**stack, wanted) : stack.error().text;
  }

  TempDir dir_;
};

TEST_F(ResizeTest, WhatHasNoBackingBecomesAsLargeAsAskedFor) {
  EXPECT_EQ(grown("null:1M", 3 * kMiB), "3M");
  EXPECT_EQ(grown("mem:1M", 3 * kMiB), "3M");
  EXPECT_EQ(grown("mem:1M", std::nullopt), "1M");
  EXPECT_EQ(grown("fault(mem:1M)", 2 * kMiB), "2M");
  EXPECT_EQ(grown("verify(mem:1M, mem:1M)", 2 * kMiB), "2M");
}

TEST_F(ResizeTest, AFileIsExtended) {
  const std::string file = dir_.file("disk", kMiB);
  LiveStack live("file:" + file);
  EXPECT_EQ(grow(live.stack(), 4 * kMiB), "4M");
  EXPECT_EQ(std::filesystem::file_size(file), 4 * kMiB);
  EXPECT_TRUE(live.write(3 * kMiB, Block(4096, 7)).ok());
  const Block block(4096);
  EXPECT_TRUE(live.read(3 * kMiB, block).ok());
  EXPECT_TRUE(block.all(7));
  EXPECT_EQ(live.read(4 * kMiB, block).error(), EINVAL);
}

TEST_F(ResizeTest, AFileThatHasGrownIsTakenAsItIs) {
  const std::string file = dir_.file("disk", kMiB);
  const auto stack = open_stack("file:" + file).value();
  ASSERT_EQ(truncate(file.c_str(), 2 * kMiB + 300), 0);
  EXPECT_EQ(grow(*stack, std::nullopt), "2M");
  ASSERT_EQ(truncate(file.c_str(), kMiB), 0);
  EXPECT_THAT(grow(*stack, std::nullopt), testing::HasSubstr("now has only 1048576"));
  EXPECT_EQ(stack->geometry().size_bytes, 2 * kMiB);
}

TEST_F(ResizeTest, APartOfAFileGrowsOnlyWhenAskedTo) {
  const std::string file = dir_.file("disk", 4 * kMiB);
  const auto stack = open_stack("loop(" + file + ", offset=1M, size=1M)").value();
  EXPECT_EQ(grow(*stack, std::nullopt), "1M");
  EXPECT_EQ(grow(*stack, 2 * kMiB), "2M");
  EXPECT_EQ(std::filesystem::file_size(file), 4 * kMiB);
  EXPECT_EQ(grow(*stack, 5 * kMiB), "5M");
  EXPECT_EQ(std::filesystem::file_size(file), 6 * kMiB);
}

TEST_F(ResizeTest, LinearGrowsByItsLastChild) {
  EXPECT_EQ(grown("linear(mem:1M, mem:1M)", 5 * kMiB), "5M");
  EXPECT_EQ(grown("linear(mem:1M, mem:3M, size=2M)", 3 * kMiB), "3M");
  EXPECT_EQ(grown("linear(mem:1M, mem:3M, size=2M)", std::nullopt), "2M");
  const std::string file = dir_.file("disk", kMiB);
  LiveStack live("linear(mem:1M, file:" + file + ", offset=512k)");
  ASSERT_EQ(truncate(file.c_str(), 2 * kMiB), 0);
  EXPECT_EQ(live.stack().resize(std::nullopt).value(), 2 * kMiB + kMiB / 2);
  EXPECT_TRUE(live.write(2 * kMiB, Block(4096, 5)).ok());
  const Block across(8192, 9);
  EXPECT_TRUE(live.write(kMiB / 2 - 4096, across).ok());
}

TEST_F(ResizeTest, AStripeGrowsByAllItsMembers) {
  EXPECT_EQ(grown("stripe(mem:1M, mem:1M)", 4 * kMiB), "4M");
  EXPECT_EQ(grown("stripe(mem:1M, mem:3M)", 4 * kMiB), "4M");
  EXPECT_THAT(grown("stripe(mem:1M, mem:1M)", 4 * kMiB + 4096),
              testing::HasSubstr("give 4194304 or 4325376"));
  const std::string one = dir_.file("one", kMiB);
  const std::string two = dir_.file("two", kMiB);
  const auto stack = open_stack("stripe(" + one + ", " + two + ")").value();
  ASSERT_EQ(truncate(one.c_str(), 2 * kMiB), 0);
  EXPECT_EQ(grow(*stack, std::nullopt), "2M");
  ASSERT_EQ(truncate(two.c_str(), 3 * kMiB), 0);
  EXPECT_EQ(grow(*stack, std::nullopt), "4M");
}

TEST_F(ResizeTest, NothingBecomesSmallerNorOdd) {
  EXPECT_THAT(grown("mem:2M", kMiB), testing::HasSubstr("cannot shrink"));
  EXPECT_THAT(grown("mem:1M", kMiB + 100), testing::HasSubstr("give 1048576 or 1049088"));
  EXPECT_THAT(grown("null:1M", UINT64_MAX), testing::HasSubstr("8 EiB"));
  const std::string file = dir_.file("disk", kMiB);
  EXPECT_THAT(grown("loop(" + file + ", read_only)", 2 * kMiB), testing::HasSubstr("reading only"));
}

TEST_F(ResizeTest, ATargetThatSaysNothingRefuses) {
  Stack stack(std::make_unique<Member>(0, kMiB));
  EXPECT_EQ(stack.resize(2 * kMiB).error().error, EOPNOTSUPP);
}

TEST_F(ResizeTest, TheSpecKeepsUp) {
  const auto stack = open_stack("stripe(mem:1M, mem:1M)").value();
  ASSERT_TRUE(stack->resize(4 * kMiB));
  EXPECT_EQ(stack->spec().children[1].number("size", 0), 2 * kMiB);
  EXPECT_FALSE(stack->spec().has("size"));
}

TEST_F(ResizeTest, QueuesReadWhileItGrows) {
  LiveStack live("linear(mem:1M, stripe(mem:1M, mem:1M))");
  std::atomic<bool> done = false;
  std::thread control([&] {
    for (uint64_t size = 4; size <= 64; ++size) {
      EXPECT_TRUE(live.stack().resize((size * 2 + 1) * kMiB));
    }
    done = true;
  });
  const Block block(4096);
  while (!done) EXPECT_TRUE(live.read(2 * kMiB, block).ok());
  control.join();
  EXPECT_TRUE(live.read(128 * kMiB, block).ok());
}

}  // namespace
}  // namespace sluice::test
