// The file of events: its size is bounded, lines of several writers stay whole, and readers follow
// its renaming.
#include "daemon/event_file.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/events.hpp"
#include "daemon/event_log.hpp"
#include "daemon/event_reader.hpp"
#include "daemon/server_death.hpp"
#include "support/state_folder.hpp"

namespace sluice::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

class EventFileTest : public testing::Test {
 protected:
  static void append(const std::string& text, uint32_t id = 0) {
    const auto appended = append_event(
        {.time = {}, .id = id, .name = {}, .kind = "added", .text = text, .target = {}});
    EXPECT_TRUE(appended) << appended.error().text;
  }
  static std::vector<std::string> texts(EventReader& reader) {
    const auto events = reader.read();
    EXPECT_TRUE(events) << events.error().text;
    std::vector<std::string> found;
    for (const DeviceEvent& event : *events) found.push_back(event.text);
    return found;
  }
  static std::vector<std::string> all_texts() {
    EventReader reader;
    return texts(reader);
  }
  StateFolder folder_;
  const fs::path file_ = folder_.path() / ".events";
  const fs::path older_ = folder_.path() / ".events.1";
};

TEST_F(EventFileTest, WithoutAFileThereAreNone) {
  EXPECT_THAT(all_texts(), IsEmpty());
  EventReader reader;
  EXPECT_THAT(texts(reader), IsEmpty());
  append("first");
  append("second", 7);
  EXPECT_THAT(texts(reader), ElementsAre("first", "second"));
  EXPECT_THAT(texts(reader), IsEmpty());
  EXPECT_THAT(all_texts(), ElementsAre("first", "second"));
  EXPECT_EQ(fs::status(file_).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(EventFileTest, WithoutADirectoryNothingIsMade) {
  fs::remove_all(folder_.path());
  EXPECT_EQ(append_event({}).error().error, ENOENT);
  EXPECT_THAT(all_texts(), IsEmpty());
  EXPECT_FALSE(fs::exists(folder_.path()));
}

TEST_F(EventFileTest, IsBoundedAndDropsTheOldest) {
  const size_t lines = 3 * kEventFileBytesMax / kEventTextMax;
  for (size_t i = 0; i < lines; ++i) append(fmt::format("{:0{}}", i, kEventTextMax));
  EXPECT_LE(fs::file_size(file_), kEventFileBytesMax);
  EXPECT_LE(fs::file_size(older_), kEventFileBytesMax);
  const auto found = all_texts();
  ASSERT_GT(found.size(), lines / 3);
  ASSERT_LT(found.size(), lines);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(std::stoull(found[i]), lines - found.size() + i);
  }
}

TEST_F(EventFileTest, WhoFollowsMissesNothing) {
  EventReader reader;
  append("first");
  EXPECT_THAT(texts(reader), ElementsAre("first"));
  size_t seen = 0;
  size_t written = 0;
  while (!fs::exists(older_)) {
    append(std::string(kEventTextMax, '.'));
    if (++written % 50 == 0) seen += texts(reader).size();
  }
  append("after");
  // A writer that opened the file before it was renamed writes late.
  std::ofstream late(older_, std::ios::app);
  const auto rest = texts(reader);
  EXPECT_EQ(seen + rest.size(), written + 1);
  EXPECT_EQ(rest.back(), "after");
  late << event_line(
              {.time = {}, .id = 0, .name = {}, .kind = "added", .text = "late", .target = {}})
       << std::flush;
  append("last");
  EXPECT_THAT(texts(reader), ElementsAre("late", "last"));
}

TEST_F(EventFileTest, WhoFollowsReadsAFileThatCameAndWentMeanwhile) {
  EventReader reader;
  append("first");
  EXPECT_THAT(texts(reader), ElementsAre("first"));
  size_t written = 0;
  for (int begun = 0; begun < 3;) {  // the reader is still in the first file
    append(fmt::format("{:0{}}", written++, kEventTextMax));
    if (fs::file_size(file_) < 2 * kEventTextMax) ++begun;
  }
  EXPECT_EQ(texts(reader).size(), written);
}

TEST_F(EventFileTest, SeveralWritersLoseNothing) {
  constexpr size_t kWriters = 4;
  constexpr size_t kEach = 150;  // more than one file takes
  std::vector<std::thread> writers;
  for (size_t writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([writer] {
      for (size_t i = 0; i < kEach; ++i) {
        append(fmt::format("{} {:0{}}", writer, i, kEventTextMax - 2),
               static_cast<uint32_t>(writer));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_TRUE(fs::exists(older_));
  EXPECT_EQ(all_texts().size(), kWriters * kEach) << "two files have room for all";
}

TEST_F(EventFileTest, ATornLineAndGarbageAreSkipped) {
  append("first");
  std::ofstream(file_, std::ios::app) << "garbage\n{\"time\":\"2026-11-30T10";
  EXPECT_THAT(all_texts(), ElementsAre("first"));
  append("second");
  EXPECT_THAT(all_texts(), ElementsAre("first", "second"));
}

TEST_F(EventFileTest, WhatHasItsNameAndIsNoneOfOursIsNotRead) {
  fs::create_symlink("/etc/passwd", file_);
  EventReader reader;
  const auto events = reader.read();
  ASSERT_FALSE(events);
  EXPECT_NE(events.error().text.find("symbolic link"), std::string::npos) << events.error().text;
  append("first");
  EXPECT_THAT(all_texts(), ElementsAre("first"));
}

TEST_F(EventFileTest, ADeadServerIsNotedOnce) {
  const auto kinds = [] {
    EventReader reader;
    std::vector<std::string> found;
    for (const DeviceEvent& event : *reader.read()) found.push_back(event.kind);
    return found;
  };
  DeviceRecord record = record_of({.id = 4, .name = "web"});
  note_server_death(record);
  EXPECT_THAT(kinds(), IsEmpty()) << "it has no record";
  folder_.add_record(record);
  note_server_death(record);
  note_server_death(record);
  EXPECT_THAT(kinds(), ElementsAre("server_died"));
  record.pid_started = 2;  // the next server, which also dies
  folder_.add_record(record);
  note_server_death(record);
  note_server_death(record);
  EXPECT_THAT(kinds(), ElementsAre("server_died", "server_died"));
  forget_server_end(4);
  expect_server_end(record);
  note_server_death(record);
  EXPECT_THAT(kinds(), ElementsAre("server_died", "server_died"));
  EXPECT_TRUE(remove_record(record));
  EXPECT_FALSE(fs::is_symlink(folder_.path() / "device-4.ended"));
}

TEST_F(EventFileTest, AProcessWritesWhatIsEmittedInIt) {
  ASSERT_TRUE(start_events(5, "db"));
  std::atomic<int> calls = 0;
  watch_health([&calls] { ++calls; });
  emit({.kind = kResized, .text = "from 1M to 2M"});
  emit({.kind = kHealthChanged, .text = std::string(1 << 16, 'x'), .target = "fault"});
  finish_events();
  watch_health({});
  set_event_sink(nullptr);
  EventReader reader;
  const auto events = reader.read();
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 2U);
  EXPECT_EQ(events->at(0).id, 5U);
  EXPECT_EQ(events->at(0).name, "db");
  EXPECT_EQ(events->at(0).kind, "resized");
  EXPECT_EQ(events->at(0).text, "from 1M to 2M");
  EXPECT_EQ(events->at(0).target, "");
  EXPECT_EQ(events->at(1).target, "fault");
  EXPECT_EQ(events->at(1).text.size(), kEventTextMax);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace sluice::test
