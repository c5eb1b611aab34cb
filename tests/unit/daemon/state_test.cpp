// Records are read back as they were written, and trusted only if a server of this user wrote them.
#include "daemon/state.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "daemon/device_id.hpp"
#include "daemon/state_directory.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

class StateTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sluice-state-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    place_ = pattern;
    use(place_ + "/state");
  }
  void TearDown() override {
    unsetenv("SLUICE_STATE_DIR");
    fs::remove_all(place_);
  }

  void use(const std::string& directory) {
    directory_ = directory;
    setenv("SLUICE_STATE_DIR", directory.c_str(), 1);
  }

  static DeviceRecord example(uint32_t id) {
    const ProcessMark server = this_process();
    DeviceRecord record;
    record.id = id;
    record.pid = server.pid;
    record.pid_started = server.started;
    record.pid_scope = server.scope;
    record.frontend = "fuse";
    record.path = record.at = "/a \"place\"/\xff\xfe";
    record.traces.set("made", true);
    record.size_bytes = uint64_t{5} << 40;
    record.block_bytes = 4096;
    record.spec.target = "null";
    record.read_only = true;
    record.queues = 3;
    record.depth = 128;
    record.max_io_bytes = 1 << 20;
    record.mode = "copy";
    record.mode_reason = "because of \xff";
    record.recovery = "wait";
    record.debug_mask = 3;
    record.poll_us = 7;
    record.threads = {11, 12, 13};
    record.health = HealthState::degraded;
    record.health_reason = "a copy is \xff";
    return record;
  }

  void put(const std::string& name, std::string_view text) const {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << text;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& each : fs::directory_iterator(directory_)) {
      names.push_back(each.path().filename());
    }
    std::ranges::sort(names);
    return names;
  }

  std::string place_;
  std::string directory_;
};

TEST_F(StateTest, ARecordIsReadBackAsItWasWritten) {
  const DeviceRecord record = example(7);
  ASSERT_TRUE(write_record(record));
  const auto found = read_record(7);
  ASSERT_TRUE(found) << found.error().text;
  EXPECT_EQ(to_json(*found), to_json(record));
  EXPECT_EQ(found->at, record.at);
  EXPECT_EQ(found->threads, record.threads);
  EXPECT_EQ(found->health, record.health);
  EXPECT_EQ(found->health_reason, record.health_reason);
  EXPECT_TRUE(server_alive(*found));
  EXPECT_EQ(names(), std::vector<std::string>{"device-7.json"});
}

TEST_F(StateTest, ADraftIsNoRecordUntilItIsPublished) {
  {
    const auto draft = RecordDraft::write(example(7));
    ASSERT_TRUE(draft) << draft.error().text;
    EXPECT_EQ(read_record(7).error().error, ENOENT);
  }
  EXPECT_EQ(names(), std::vector<std::string>{}) << "it is taken back";
  auto draft = RecordDraft::write(example(7));
  ASSERT_TRUE(draft->publish());
  EXPECT_EQ(names(), std::vector<std::string>{"device-7.json"});
}

TEST_F(StateTest, WhatOlderServersDoNotWriteMayLack) {
  std::string text = to_json(example(7));
  const size_t begin = text.find("\"pid_scope\"");
  text.erase(begin, text.find("\"frontend\"") - begin);
  const auto record = record_from_json(text);
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(record->pid_scope, "");
  EXPECT_TRUE(server_alive(*record));
}

TEST_F(StateTest, AnyPartOfARecordIsRefused) {
  const std::string text = to_json(example(7));
  for (size_t length = 0; length < text.size(); ++length) {
    const auto record = record_from_json(text.substr(0, length));
    ASSERT_FALSE(record) << length;
    EXPECT_EQ(record.error().error, EBADMSG);
    EXPECT_EQ(record.error().text.find("exception"), std::string::npos);
  }
}

TEST_F(StateTest, ModesAreSetAndNotInherited) {
  for (const mode_t mask : {0000U, 0777U}) {
    use(place_ + "/deep/" + std::to_string(mask) + "/state");
    const mode_t before = umask(mask);
    const auto written = write_record(example(1));
    umask(before);
    ASSERT_TRUE(written) << written.error().text;
    struct stat status{};
    ASSERT_EQ(stat(directory_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0700U);
    ASSERT_EQ(stat(record_path(1).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
    ASSERT_EQ(stat((place_ + "/deep").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0755U);
  }
}

TEST_F(StateTest, OneThatCannotBeUsedHidesNoOther) {
  ASSERT_TRUE(write_record(example(1)));
  put("device-2.json", "{\"id\": 2,");
  put("device-003.json", "no record of ours has this name");
  put("device-4.json.1", "nor this");
  ASSERT_EQ(mkfifo((directory_ + "/device-5.json").c_str(), 0600), 0);
  ASSERT_EQ(symlink("device-1.json", (directory_ + "/device-6.json").c_str()), 0);
  const auto files = read_state_files();
  ASSERT_TRUE(files) << files.error().text;
  ASSERT_EQ(files->records.size(), 1U);
  ASSERT_EQ(files->unusable.size(), 3U);
  for (const UnusableRecord& each : files->unusable) {
    EXPECT_EQ(each.why.error, EBADMSG);
    EXPECT_NE(each.why.text.find(record_path(each.id)), std::string::npos);
    EXPECT_EQ(read_record(each.id).error().text, each.why.text);
    const auto lock = StateLock::take();
    EXPECT_EQ(free_id(each.id, 0).error().error, EEXIST) << "its server may live";
  }
  for (const uint32_t id : {2U, 5U, 6U}) EXPECT_TRUE(remove_unusable_record(id));
  EXPECT_TRUE(remove_unusable_record(1)) << "this one can be used, and stays";
  EXPECT_EQ(read_state_files()->unusable.size(), 0U);
  EXPECT_TRUE(read_record(1));
}

TEST_F(StateTest, NoDirectoryIsNoRecordsAndIsNotMade) {
  EXPECT_EQ(read_record(1).error().error, ENOENT);
  EXPECT_TRUE(read_state_files()->records.empty());
  EXPECT_TRUE(remove_record(example(1)));
  EXPECT_FALSE(fs::exists(directory_));
}

TEST_F(StateTest, ADirectoryThatOthersCanWriteInIsNotUsed) {
  ASSERT_TRUE(write_record(example(1)));
  ASSERT_EQ(chmod(directory_.c_str(), 0777), 0);
  EXPECT_EQ(read_record(1).error().error, EPERM);
  EXPECT_EQ(read_state_files().error().error, EPERM);
  EXPECT_EQ(write_record(example(1)).error().error, EPERM);
  EXPECT_EQ(StateLock::take().error().error, EPERM);
  EXPECT_EQ(remove_record(example(1)).error().error, EPERM);
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  EXPECT_TRUE(read_record(1));
}

TEST_F(StateTest, TheRecordOfAnotherServerIsNotRemoved) {
  DeviceRecord dead = example(1);
  dead.pid_started += 1;
  ASSERT_TRUE(write_record(dead));
  ASSERT_FALSE(server_alive(dead));
  ASSERT_TRUE(write_record(example(1)));  // meanwhile another server has the number
  put("device-1.log", "and logs");
  ASSERT_TRUE(remove_record(dead));
  EXPECT_TRUE(read_record(1));
  EXPECT_EQ(names(), (std::vector<std::string>{"device-1.json", "device-1.log"}));
  ASSERT_TRUE(remove_record(example(1)));
  EXPECT_EQ(names(), std::vector<std::string>{});
}

TEST_F(StateTest, EverythingOfADeviceGoesWithItsRecord) {
  ASSERT_TRUE(write_record(example(1)));
  for (const char* const name : {"device-1.log", "device-1.1.log", "device-1.sock"}) put(name, "");
  put("device-11.json", "");
  ASSERT_TRUE(remove_record(example(1)));
  EXPECT_EQ(names(), std::vector<std::string>{"device-11.json"});
}

// `del` took the server for dead, before the server's log was made.
TEST_F(StateTest, ALogThatWasMadeAfterItsRecordHadGoneIsRemoved) {
  put("device-1.log", "");
  ASSERT_TRUE(write_record(example(2)));
  put("device-2.log", "of another device");
  ASSERT_TRUE(remove_record(example(1)));
  EXPECT_EQ(names(), (std::vector<std::string>{"device-2.json", "device-2.log"}));
}

TEST_F(StateTest, ALogIsARegularFileOfOurs) {
  ASSERT_TRUE(write_record(example(1)));
  put("device-1.log", "what was logged before stays\n");
  make_log_file(log_path(1));
  struct stat status{};
  ASSERT_EQ(stat(log_path(1).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  EXPECT_GT(status.st_size, 0);
  fs::remove(log_path(1));
  const std::string other = place_ + "/other";
  std::ofstream(other) << "precious";
  ASSERT_EQ(symlink(other.c_str(), log_path(1).c_str()), 0);
  make_log_file(log_path(1));
  ASSERT_EQ(lstat(log_path(1).c_str(), &status), 0);
  EXPECT_TRUE(S_ISREG(status.st_mode));
  EXPECT_EQ(fs::file_size(other), 8U);
}

// The control socket shows whether a server lives whose process is in another namespace.
TEST_F(StateTest, OfAnotherNamespaceOnlyAListenerIsAlive) {
  DeviceRecord record = example(1);
  record.pid_scope.insert(0, "1");
  ASSERT_TRUE(write_record(record));
  EXPECT_EQ(server_life(record), Life::unknown) << "it may not listen yet";
  EXPECT_TRUE(server_alive(record));
  put("device-1.sock", "");
  EXPECT_EQ(server_life(record), Life::dead) << "it listens no more";
  fs::remove(control_path(1));
  fs::remove(record_path(1));
  EXPECT_EQ(server_life(record), Life::dead) << "it has removed its record";
}

}  // namespace
}  // namespace sluice
