// DeviceEvent: a written event is read unchanged, and lines that are no events are skipped.
#include "daemon/device_event.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using Time = std::chrono::sys_time<milliseconds>;

DeviceEvent event(std::string text) {
  return {.time = Time(milliseconds(1'796'033'120'007)),
          .id = 3,
          .name = "web",
          .kind = "health_changed",
          .text = std::move(text),
          .target = "fault"};
}

TEST(DeviceEvent, IsALineThatIsReadAgain) {
  const std::string line = event_line(event("a \"quoted\"\nline \x01"));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(parse_event(line.substr(0, line.size() - 1)), event("a \"quoted\"\nline \x01"));
  EXPECT_EQ(event_line(event("x")),
            "{\"time\":\"2026-11-30T10:05:20.007Z\",\"id\":3,\"name\":\"web\","
            "\"kind\":\"health_changed\",\"text\":\"x\",\"target\":\"fault\"}\n");
}

TEST(DeviceEvent, AnEndlessTextIsCut) {
  const auto read = parse_event(event_line(event(std::string(1 << 20, '\x01'))));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->text.size(), kEventTextMax);
}

TEST(DeviceEvent, WithoutWhatItNeedsIsNone) {
  const auto with = [](const std::string& members) { return parse_event("{" + members + "}"); };
  const std::string time = R"("time": "2026-11-30T10:05:20.007Z")";
  EXPECT_TRUE(with(time + R"(, "id": 1, "kind": "added")"));
  EXPECT_TRUE(with(time + R"(, "id": 1, "kind": "of_a_later_version", "more": [1, {}])"));
  EXPECT_FALSE(with(time + R"(, "id": 1)"));
  EXPECT_FALSE(with(time + R"(, "kind": "added")"));
  EXPECT_FALSE(with(R"("id": 1, "kind": "added")"));
  EXPECT_FALSE(with(time + R"(, "id": -1, "kind": "added")"));
  EXPECT_FALSE(with(time + R"(, "id": 1000000000, "kind": "added")"));
  EXPECT_FALSE(with(time + R"(, "id": 1, "kind": "Added!")"));
  EXPECT_FALSE(with(time + R"(, "id": 1, "kind": "added", "name": "../x")"));
  EXPECT_FALSE(with(time + R"(, "id": 1, "kind": "added", "text": 7)"));
  for (const char* const line : {"", "{", "[]", "7", "null", "\xff", "{} {}"}) {
    EXPECT_FALSE(parse_event(line)) << line;
  }
}

TEST(DeviceEvent, TimesAreThoseOfTheRfc) {
  EXPECT_EQ(rfc3339(Time()), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(parse_rfc3339("2024-02-29T23:59:59.999Z"), Time(milliseconds(1'709'251'199'999)));
  for (const char* const text :
       {"", "2026-11-30T10:05:20Z", "2026-11-30 10:05:20.007Z", "2026-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z", "2026-11-30T24:00:00.000Z", "2026-11-30T10:60:00.000Z",
        "2026-11-30T10:05:20.007z", "2026-11-30T10:05:-1.007Z", "2026-11-30T10:05:20.007ZZ"}) {
    EXPECT_FALSE(parse_rfc3339(text)) << text;
  }
}

std::vector<std::string> texts(const std::vector<DeviceEvent>& events) {
  std::vector<std::string> found;
  for (const DeviceEvent& each : events) found.push_back(each.text);
  return found;
}

TEST(EventLines, TakesLinesInPiecesAndSkipsWhatIsNoEvent) {
  EventLines lines;
  const std::string first = event_line(event("first"));
  EXPECT_TRUE(lines.add(first.substr(0, 20)).empty());
  EXPECT_THAT(texts(lines.add(first.substr(20) + "garbage\n\n{\"id\":1}\n" +
                              event_line(event("second")) + "{\"torn")),
              ElementsAre("first", "second"));
  EXPECT_TRUE(lines.add(std::string(1 << 20, 'x')).empty());
  EXPECT_THAT(texts(lines.add("\n" + event_line(event("third")))), ElementsAre("third"));
}

}  // namespace
}  // namespace sluice
