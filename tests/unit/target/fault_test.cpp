// fault: errors, delays and half done requests, by rule and by seed. The cache is in
// fault_cache_test.cpp.
#include "target/fault.hpp"

#include <gtest/gtest.h>

#include "support/fan_out.hpp"
#include "support/member_target.hpp"
#include "target/open.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kFaultyBytes = 1 << 20;

Result<std::unique_ptr<Target>> open_fault(
    std::initializer_list<std::pair<std::string, OptionValue>> options) {
  Spec spec;
  for (const auto& [name, value] : options) spec.set(name, value);
  OpenContext context(false);
  return kFaultTarget.open(spec, make_members({kFaultyBytes}), context);
}

class FaultTest : public testing::Test {
 protected:
  // The errno of a request, whose SQEs all succeed.
  int errno_of(Target& target, Op op, uint64_t offset = 0, uint64_t length = 4096) {
    const bool data = op == Op::read || op == Op::write;
    Request& request = data ? tag_.make(op, offset, std::span(memory_).first(length))
                            : tag_.make(op, offset, op == Op::flush ? 0 : length);
    Task task = target.submit(request);
    ring_.settle();
    while (ring_.pending() != 0) {
      ++sqes_;
      const io_uring_sqe& sqe = ring_.sqe(0);
      moved_ = static_cast<uint64_t>(full_result(sqe));
      ring_.complete(0, sqe.opcode == IORING_OP_TIMEOUT ? -ETIME : full_result(sqe));
    }
    EXPECT_TRUE(task.finished());
    return task.status().error();
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(64 << 10);
  ManualRing ring_;
  TestTag tag_{ring_};
  int sqes_ = 0;
  uint64_t moved_ = 0;
};

TEST_F(FaultTest, WithoutOptionsIsInNobodysWay) {
  auto fault = open_fault({});
  ASSERT_TRUE(fault);
  EXPECT_EQ((*fault)->geometry().size_bytes, kFaultyBytes);
  EXPECT_FALSE((*fault)->geometry().needs_bytes);
  for (const Op op : {Op::read, Op::write, Op::flush, Op::discard, Op::write_zeroes}) {
    EXPECT_EQ(errno_of(**fault, op), 0);
  }
  EXPECT_EQ(sqes_, 5);
}

TEST_F(FaultTest, ErrorsComeInsteadOfTheChild) {
  auto fault = open_fault({{"errors", "1"}, {"errno", "ENOSPC"}, {"ops", "write+discard"}});
  ASSERT_TRUE(fault);
  EXPECT_EQ(errno_of(**fault, Op::write), ENOSPC);
  EXPECT_EQ(errno_of(**fault, Op::discard), ENOSPC);
  EXPECT_EQ(sqes_, 0);
  EXPECT_EQ(errno_of(**fault, Op::read), 0);
  EXPECT_EQ(errno_of(**fault, Op::flush), 0);
  EXPECT_EQ(errno_of(**fault, Op::write_zeroes), 0);
}

TEST_F(FaultTest, AfterAndCountMakeAWindow) {
  auto fault = open_fault(
      {{"errors", "100%"}, {"ops", "read"}, {"after", uint64_t{2}}, {"count", uint64_t{3}}});
  ASSERT_TRUE(fault);
  std::vector<int> errors;
  for (int i = 0; i < 7; ++i) {
    errors.push_back(errno_of(**fault, Op::read));
    EXPECT_EQ(errno_of(**fault, Op::write), 0);
  }
  EXPECT_EQ(errors, (std::vector{0, 0, EIO, EIO, EIO, 0, 0}));
}

TEST_F(FaultTest, ARangeIsHitByWhatTouchesIt) {
  auto fault = open_fault({{"errors", "1"}, {"offset", uint64_t{8192}}, {"length", uint64_t{512}}});
  ASSERT_TRUE(fault);
  EXPECT_EQ(errno_of(**fault, Op::read, 4096, 4096), 0);
  EXPECT_EQ(errno_of(**fault, Op::read, 4096, 8192), EIO);
  EXPECT_EQ(errno_of(**fault, Op::write, 8192, 512), EIO);
  EXPECT_EQ(errno_of(**fault, Op::write, 8704, 512), 0);
  EXPECT_EQ(errno_of(**fault, Op::flush), 0);
}

TEST_F(FaultTest, ARateIsKeptAndASeedRepeatsIt) {
  std::vector<int> runs[2];
  for (std::vector<int>& run : runs) {
    auto fault = open_fault({{"errors", "25%"}, {"seed", uint64_t{7}}});
    ASSERT_TRUE(fault);
    for (int i = 0; i < 1000; ++i) run.push_back(errno_of(**fault, Op::read));
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_NEAR(static_cast<double>(std::ranges::count(runs[0], EIO)), 250, 60);
}

TEST_F(FaultTest, AShortRequestMovesAPrefixAndFails) {
  auto fault = open_fault({{"short", "1"}, {"seed", uint64_t{3}}});
  ASSERT_TRUE(fault);
  uint64_t least = UINT64_MAX;
  uint64_t most = 0;
  for (int i = 0; i < 200; ++i) {
    moved_ = 0;
    EXPECT_EQ(errno_of(**fault, Op::write, 4096, 8192), EIO);
    EXPECT_EQ(moved_ % 512, 0U);
    least = std::min(least, moved_);
    most = std::max(most, moved_);
  }
  EXPECT_EQ(least, 0U);
  EXPECT_EQ(most, 8192U - 512);
  EXPECT_EQ(errno_of(**fault, Op::flush), 0) << "nothing of a flush can be short";
}

TEST_F(FaultTest, AShortReadLeavesTheRestUnfilled) {
  auto fault = open_fault({{"short", "1"}, {"seed", uint64_t{4}}});
  ASSERT_TRUE(fault);
  for (int i = 0; i < 20; ++i) {
    moved_ = 0;
    EXPECT_EQ(errno_of(**fault, Op::read, 0, 8192), EIO);
    EXPECT_EQ(tag_.loan.filled_bytes(), moved_);
  }
}

TEST_F(FaultTest, ADelayComesBeforeTheChildIsAsked) {
  auto fault = open_fault({{"delay", "1.5ms"}, {"ops", "read"}});
  ASSERT_TRUE(fault);
  Task task = (*fault)->submit(tag_.make(Op::read, 0, std::span(memory_).first(512)));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  ASSERT_EQ(ring_.sqe(0).opcode, IORING_OP_TIMEOUT);
  const auto* time = reinterpret_cast<const __kernel_timespec*>(ring_.sqe(0).addr);
  EXPECT_EQ(time->tv_sec, 0);
  EXPECT_EQ(time->tv_nsec, 1'500'000);
  ring_.complete(0, -ETIME);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READ);
  ring_.complete(0, 512);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST_F(FaultTest, WhatIsDelayedMayFailAsWell) {
  auto fault = open_fault({{"delay", "1s"}, {"errors", "1"}});
  ASSERT_TRUE(fault);
  EXPECT_EQ(errno_of(**fault, Op::write), EIO);
  EXPECT_EQ(sqes_, 1);
}

TEST_F(FaultTest, AfterAPowerCutEverythingFails) {
  auto fault = open_fault({{"power_cut_after", uint64_t{2}}});
  ASSERT_TRUE(fault);
  EXPECT_EQ(errno_of(**fault, Op::write), 0);
  EXPECT_EQ(errno_of(**fault, Op::flush), 0);
  EXPECT_TRUE(static_cast<Fault&>(**fault).powered());
  for (const Op op : {Op::read, Op::write, Op::flush, Op::discard, Op::write_zeroes}) {
    EXPECT_EQ(errno_of(**fault, op), EIO);
  }
  EXPECT_EQ(sqes_, 2);
}

TEST_F(FaultTest, FuaReachesTheChild) {
  auto fault = open_fault({});
  ASSERT_TRUE(fault);
  Request& request = tag_.make(Op::write, 0, std::span(memory_).first(512));
  request.fua = true;
  Task task = (*fault)->submit(request);
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  ring_.complete(0, 512);
  EXPECT_TRUE(task.finished());
}

TEST(FaultOpen, ReadsRatesAndDurations) {
  const auto read = [](std::string_view option, const std::string& text) {
    Spec spec;
    spec.set(option, text);
    return read_fault_options(spec);
  };
  EXPECT_EQ(read("errors", "0.25")->error_rate, 0.25);
  EXPECT_EQ(read("errors", "1%")->error_rate, 0.01);
  EXPECT_EQ(read("short", "0")->short_rate, 0);
  EXPECT_EQ(read("delay", "10ms")->delay, std::chrono::milliseconds(10));
  EXPECT_EQ(read("delay", "0.5us")->delay, std::chrono::nanoseconds(500));
  EXPECT_EQ(read("delay", "2s")->delay, std::chrono::seconds(2));
  EXPECT_EQ(read("delay", "0")->delay.count(), 0);
  for (const char* text : {"", "x", "1.1", "101%", "-1", "1 %", "nan", "inf", "0.5x"}) {
    const auto options = read("errors", text);
    ASSERT_FALSE(options) << text;
    EXPECT_EQ(options.error().text,
              std::string("fault: errors is '") + text + "'; it can be 0 to 1, or 0% to 100%");
  }
  for (const char* text : {"", "10", "ms", "1d", "-1s", "1e9s", "1e300s", "99999999999s"}) {
    EXPECT_FALSE(read("delay", text)) << text;
  }
  EXPECT_EQ(read("delay", "1000000s")->delay, std::chrono::seconds(1'000'000));
  EXPECT_EQ(read("delay", "5000000us")->delay, std::chrono::seconds(5));
  for (const char* text : {"1000001s", "99999999999s", "1000000000.1ms"}) {
    EXPECT_EQ(read("delay", text).error().text,
              std::string("fault: delay is '") + text + "'; 1000000s is the longest");
  }
}

TEST(FaultOpen, SaysWhatItDoesNotKnow) {
  const auto text_of = [](std::initializer_list<std::pair<std::string, OptionValue>> options) {
    const auto opened = open_fault(options);
    EXPECT_FALSE(opened);
    EXPECT_EQ(opened.error().error, EINVAL);
    return opened.error().text;
  };
  EXPECT_TRUE(text_of({{"errno", "EFOO"}})
                  .starts_with("fault: errno is 'EFOO'; it can be one of EIO ENOSPC"));
  EXPECT_EQ(text_of({{"ops", "read+rite"}}),
            "fault: ops has 'rite'; it can be all, or some of read, write, flush, discard, "
            "write_zeroes and prefetch with + between them");
  EXPECT_TRUE(text_of({{"ops", "read+"}}).starts_with("fault: ops has ''"));
  EXPECT_EQ(text_of({{"cache", "big"}}), "fault: cache is 'big'; it can be volatile or none");
  EXPECT_EQ(text_of({{"torn", true}}),
            "fault: torn=yes tears what a cache holds; give cache=volatile with it");
}

}  // namespace
}  // namespace sluice::test
