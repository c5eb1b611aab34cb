// A latency histogram is exact to the width of its buckets, which are narrow.
#include "reactor/latency.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "reactor/queue_counters.hpp"

namespace sluice {
namespace {

TEST(LatencyBuckets, EveryTimeIsInTheBucketThatSaysSo) {
  size_t index = 0;
  uint64_t next = 0;
  for (; index < LatencyBuckets::kCount; ++index) {
    ASSERT_EQ(LatencyBuckets::index_of(next), index);
    const uint64_t last = LatencyBuckets::last_of(index);
    ASSERT_GE(last, next);
    ASSERT_EQ(LatencyBuckets::index_of(last), index);
    ASSERT_LE(static_cast<double>(last - next), static_cast<double>(next) / 32) << "too wide";
    next = last + 1;
  }
  EXPECT_EQ(LatencyBuckets::index_of(next), index - 1) << "what is longer is in the last one";
  EXPECT_EQ(LatencyBuckets::index_of(UINT64_MAX), index - 1);
}

TEST(Latency, QuantilesAreThoseOfTheTimesCounted) {
  std::mt19937_64 random(7);
  std::vector<uint64_t> times;
  Latency latency;
  for (int i = 0; i < 10000; ++i) {
    times.push_back(uint64_t{1} << (random() % 30));
    times.back() += random() % times.back();
    latency.count(times.back());
  }
  std::ranges::sort(times);
  const LatencyStats stats = latency.stats();
  EXPECT_EQ(stats.count, times.size());
  EXPECT_EQ(stats.longest, times.back());
  for (const double share : {0.001, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<size_t>(share * static_cast<double>(times.size()));
    const auto exact = static_cast<double>(times[rank - 1]);
    const auto found = static_cast<double>(stats.quantile(share));
    EXPECT_GE(found, exact);
    EXPECT_LE(found, exact * 1.032);
  }
}

TEST(Latency, WithoutRequestsThereIsNothingToSay) {
  const LatencyStats stats = Latency().stats();
  EXPECT_EQ(stats.count, 0U);
  EXPECT_EQ(stats.quantile(0.5), 0U);
}

TEST(Latency, AClockThatWentBackIsNoTimeAtAll) {
  Latency latency;
  latency.count(uint64_t{0} - 5);
  EXPECT_EQ(latency.stats().longest, 0U);
}

TEST(Latency, CanBeReadWhileItIsWritten) {
  Latency latency;
  std::thread writer([&] {
    for (uint64_t i = 0; i < 100000; ++i) latency.count(i);
  });
  uint64_t count = 0;
  while (count < 100000) {
    const uint64_t now = latency.stats().count;
    ASSERT_GE(now, count);
    count = now;
  }
  writer.join();
}

TEST(QueueCounters, CountWhatCameInAndWhatWasAnswered) {
  QueueCounters counters;
  Request read;
  read.op = Op::read;
  read.length = 4096;
  const uint64_t begun = counters.begin();
  counters.count(read);
  QueueReport report;
  report.add(counters);
  EXPECT_EQ(report.requests, 1U);
  EXPECT_EQ(report.in_flight, 1U);
  EXPECT_EQ(report.latency[0].count, 0U);
  counters.end(read, begun, Status::from_errno(EIO));
  const Request flush;
  counters.count(flush);
  counters.end(flush, counters.begin(), kOk);
  QueueReport after;
  after.add(counters);
  EXPECT_EQ(after.in_flight, 0U);
  EXPECT_EQ(after.errors, 1U);
  EXPECT_EQ(after.op_requests[static_cast<size_t>(Op::flush)], 1U);
  EXPECT_EQ(after.op_bytes[static_cast<size_t>(Op::read)], 4096U);
  EXPECT_EQ(after.latency[static_cast<size_t>(LatencyClass::read)].count, 1U);
  EXPECT_EQ(after.latency[static_cast<size_t>(LatencyClass::other)].count, 1U);
  after.add(after);
  EXPECT_EQ(after.requests, 4U);
  EXPECT_EQ(after.latency[0].count, 2U);
}

}  // namespace
}  // namespace sluice
