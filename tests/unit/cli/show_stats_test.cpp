// The forms of stats: a table, the format of Prometheus, and rates.
#include "cli/show_stats.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "core/health.hpp"
#include "daemon/stats.hpp"
#include "support/json.hpp"

namespace sluice::cli {
namespace {

using nlohmann::json;
using sluice::test::parsed;
using sluice::test::said;
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
  json queues = {parsed(report_json(busy, true)), parsed(report_json(idle, true))};
  queues[0]["queue"] = 0;
  queues[1]["queue"] = 1;
  return {{"id", 0},
          {"device", "/dev/ublkb\"0\\"},
          {"frontend", "ublk"},
          {"mode", "auto"},
          {"pid", 1},
          {"time_ns", time_ns},
          {"queues", queues},
          {"total", parsed(report_json(total, true))}};
}

TEST(ShowStats, TheTableHasARowForEachQueueAndClassThatWasUsed) {
  const std::string text = stats_text(said(device(3, 0)));
  EXPECT_THAT(text,
              HasSubstr("mode auto, 12288 bytes copied by the server, 0 errors, 0 in flight"));
  EXPECT_THAT(text, HasSubstr("\t0     read             3           12288"));
  EXPECT_THAT(text, HasSubstr("\tall   read             3"));
  EXPECT_THAT(text, testing::Not(HasSubstr("write")));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('\t')) EXPECT_LE(line.size() + 7, 80U) << line;
  }
}

TEST(ShowStats, ADeviceThatWasNotUsedHasNoTable) {
  EXPECT_EQ(std::ranges::count(stats_text(said(device(0, 0))), '\n'), 1);
}

TEST(ShowStats, ForPrometheusEveryFamilyIsDeclaredOnceAndBucketsAddUp) {
  const JsonValue devices[] = {said(device(5, 0))};
  const std::string text = stats_prometheus(devices);
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

// A degraded device, with a health number of each kind.
json sick_device() {
  json sick = device(0, 0);
  StackHealth health{.state = HealthState::degraded, .reason = "fault: it makes requests fail"};
  health.targets.push_back(
      {.name = "fault",
       .health = {
           .numbers = {{.name = "injected_errors", .value = 7},
                       {.name = "dirty_bytes", .value = 512, .kind = HealthNumber::Kind::gauge}}}});
  health.targets.push_back({.name = "null", .health = {}});
  sick["health"] = parsed(health_json(health));
  return sick;
}

TEST(ShowStats, HealthHasALineUnlessItIsOk) {
  const std::string text = stats_text(said(sick_device()));
  EXPECT_THAT(text, HasSubstr("\n\thealth: degraded (fault: it makes requests fail)\n"
                              "\tfault: injected_errors 7, dirty_bytes 512\n"));
  json well = device(0, 0);
  well["health"] = parsed(health_json({}));
  EXPECT_EQ(stats_text(said(well)), stats_text(said(device(0, 0))));
}

TEST(ShowStats, ForPrometheusHealthIsASetOfStatesAndNumbersAreFamilies) {
  json other = sick_device();
  other["device"] = "/dev/loop1";
  const JsonValue devices[] = {said(sick_device()), said(other)};
  const std::string text = stats_prometheus(devices);
  EXPECT_THAT(text, HasSubstr("sluice_device_health{device=\"/dev/loop1\",state=\"ok\"} 0\n"
                              "sluice_device_health{device=\"/dev/loop1\",state=\"degraded\"} 1\n"
                              "sluice_device_health{device=\"/dev/loop1\",state=\"failed\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE sluice_target_dirty_bytes gauge\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE sluice_target_injected_errors_total counter\n"));
  EXPECT_THAT(text, HasSubstr("sluice_target_injected_errors_total{device=\"/dev/loop1\","
                              "target=\"fault\"} 7\n"));
  const std::string type = "# TYPE sluice_target_dirty_bytes";
  EXPECT_EQ(text.find(type), text.rfind(type));
}

TEST(ShowStats, RatesAreOfTheTimeBetween) {
  const std::string line =
      rates_line("12:34:56", said(device(100, 0)), said(device(300, 2'000'000'000)));
  std::istringstream words(line);
  std::string time;
  std::string name;
  double reads = 0;
  words >> time >> name >> reads;
  EXPECT_EQ(time, "12:34:56");
  EXPECT_EQ(name, "ublkb\"0\\");
  EXPECT_EQ(reads, 100);
  const std::string nothing = rates_line("12:34:56", said(device(3, 5)), said(device(3, 5)));
  EXPECT_THAT(nothing, HasSubstr(" - "));
}

TEST(ShowStats, RatesFitATerminal) {
  EXPECT_LE(rates_header().size(), 81U);
  for (const char* const path : {"/dev/ublkb0", "/home/somebody/images/a view of the data.img"}) {
    json before = device(0, 0);
    json after = device(0, 1'000'000'000);
    before["device"] = after["device"] = path;
    EXPECT_EQ(rates_line("12:34:56", said(before), said(after)).size(), rates_header().size());
    json& total = after["total"];
    for (const char* const op : {"read", "write", "flush"}) {
      total["requests"][op] = 9'876'543;
      total["bytes"][op] = uint64_t{98'765'432'100};
    }
    total["in_flight"] = 16'777'216;
    total["copied_bytes"] = uint64_t{98'765'432'100};
    const std::string busy = rates_line("12:34:56", said(before), said(after));
    EXPECT_EQ(busy.size(), rates_header().size()) << busy;
    EXPECT_THAT(busy, HasSubstr("  9877k  94190 "));
  }
}

TEST(ShowStats, TimesHaveTheUnitThatSuitsThem) {
  EXPECT_EQ(shown_time(0), "0");
  EXPECT_EQ(shown_time(1'230), "1.23us");
  EXPECT_EQ(shown_time(999'000), "999us");
  EXPECT_EQ(shown_time(12'340'000), "12.3ms");
  EXPECT_EQ(shown_time(2'000'000'000), "2.00s");
}

}  // namespace
}  // namespace sluice::cli
