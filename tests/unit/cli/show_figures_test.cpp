// How figures are shown: as a table, for Prometheus, and as rates.
#include "cli/show_figures.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "daemon/figures.hpp"

namespace sluice::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// A device with two queues; the first has done `reads` reads of 4 KiB.
json device(uint64_t reads, uint64_t time_ns) {
  QueueReport busy;
  QueueCounters counters;
  Request read;
  read.op = Op::read;
  read.length = 4096;
  for (uint64_t i = 0; i < reads; ++i) {
    counters.count(read);
    counters.end(read, counters.begin() - 1000, kOk);
  }
  busy.add(counters);
  busy.copied_bytes = reads * 4096;
  QueueReport total = busy;
  QueueReport idle;
  idle.add(QueueCounters());
  total.add(idle);
  json queues = {report_json(busy, true), report_json(idle, true)};
  queues[0]["queue"] = 0;
  queues[1]["queue"] = 1;
  return {{"id", 0},
          {"device", "/dev/ublkb\"0\\"},
          {"frontend", "ublk"},
          {"mode", "auto"},
          {"pid", 1},
          {"time_ns", time_ns},
          {"queues", queues},
          {"total", report_json(total, true)}};
}

TEST(ShowFigures, TheTableHasARowForEachQueueAndClassThatWasUsed) {
  const std::string text = figures_text(device(3, 0));
  EXPECT_THAT(text,
              HasSubstr("mode auto, 12288 bytes copied by the server, 0 errors, 0 in flight"));
  EXPECT_THAT(text, HasSubstr("\t0     read             3            12288"));
  EXPECT_THAT(text, HasSubstr("\tall   read             3"));
  EXPECT_THAT(text, testing::Not(HasSubstr("write")));
}

TEST(ShowFigures, ADeviceThatWasNotUsedHasNoTable) {
  EXPECT_EQ(std::ranges::count(figures_text(device(0, 0)), '\n'), 1);
}

TEST(ShowFigures, ForPrometheusEveryFamilyIsDeclaredOnceAndBucketsAddUp) {
  const json devices[] = {device(5, 0)};
  const std::string text = figures_prometheus(devices);
  std::istringstream lines(text);
  std::string family;
  uint64_t previous = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) family = line.substr(7, line.find(' ', 7) - 7);
    if (line.starts_with('#')) continue;
    EXPECT_TRUE(line.starts_with(family)) << line;
    EXPECT_THAT(line, HasSubstr(R"(device="/dev/ublkb\"0\\")"));
    if (line.find("queue=\"0\",op=\"read\",le=") == std::string::npos) continue;
    const uint64_t count = std::stoull(line.substr(line.rfind(' ')));
    EXPECT_GE(count, previous) << line;
    previous = count;
  }
  EXPECT_EQ(previous, 5U) << "+Inf is all";
  EXPECT_THAT(text, HasSubstr("queue=\"0\",op=\"read\"} 20480\n"));
  EXPECT_THAT(text,
              HasSubstr("sluice_request_duration_seconds_count{device=\"/dev/ublkb\\\"0\\\\\","
                        "queue=\"0\",op=\"read\"} 5\n"));
}

TEST(ShowFigures, RatesAreOfTheTimeBetween) {
  const std::string line = rates_line(device(100, 0), device(300, 2'000'000'000));
  std::istringstream words(line);
  std::string name;
  double reads = 0;
  words >> name >> reads;
  EXPECT_EQ(reads, 100);
  const std::string nothing = rates_line(device(3, 5), device(3, 5));
  EXPECT_THAT(nothing, HasSubstr(" - "));
}

TEST(ShowFigures, TimesHaveTheUnitThatSuitsThem) {
  EXPECT_EQ(shown_time(0), "0");
  EXPECT_EQ(shown_time(1'230), "1.23us");
  EXPECT_EQ(shown_time(999'000), "999us");
  EXPECT_EQ(shown_time(12'340'000), "12.3ms");
  EXPECT_EQ(shown_time(2'000'000'000), "2.00s");
}

}  // namespace
}  // namespace sluice::cli
