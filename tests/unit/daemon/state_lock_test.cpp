// The StateLock has one holder, errors name the holder, and it leaves nothing behind.
#include "daemon/state_lock.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

namespace sluice {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class StateLockTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sluice-lock-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    setenv("SLUICE_STATE_DIR", directory_.c_str(), 1);
  }
  void TearDown() override {
    unsetenv("SLUICE_STATE_DIR");
    fs::remove_all(directory_);
  }

  std::string directory_;
};

TEST_F(StateLockTest, WhoWaitsTooLongIsToldWhoHoldsIt) {
  const auto held = StateLock::take();
  ASSERT_TRUE(held) << held.error().text;
  struct stat status{};
  ASSERT_EQ(stat((directory_ + "/.lock").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  // /proc/locks also shows a waiter of another lock.
  const int unrelated = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(flock(unrelated, LOCK_EX), 0);
  const int waiting = open("/dev/null", O_RDONLY | O_CLOEXEC);
  std::thread waiter([&] { EXPECT_EQ(flock(waiting, LOCK_EX), 0); });
  const auto other = StateLock::take(milliseconds(100));
  flock(unrelated, LOCK_UN);
  waiter.join();
  close(unrelated);
  close(waiting);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().error, ETIMEDOUT);
  EXPECT_NE(other.error().text.find(std::to_string(getpid())), std::string::npos)
      << other.error().text;
}

TEST_F(StateLockTest, NothingIsLeftOfIt) {
  {
    const auto lock = StateLock::take();
  }
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(StateLockTest, OneAtATime) {
  std::atomic<int> inside = 0;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        const auto lock = StateLock::take();
        if (!lock || inside.fetch_add(1) != 0) ++wrong;
        std::this_thread::yield();
        inside.fetch_sub(1);
      }
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(wrong, 0);
}

// The lock file was removed, for instance by rm -rf, while a process holds its lock.
TEST_F(StateLockTest, AFileThatIsNotTheLockAnyMoreIsNotWaitedFor) {
  const std::string path = directory_ + "/.lock";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(flock(file, LOCK_EX), 0);
  std::thread remover([&] {
    std::this_thread::sleep_for(milliseconds(50));
    fs::remove_all(directory_);
  });
  const auto lock = StateLock::take(milliseconds(10'000));
  remover.join();
  EXPECT_TRUE(lock) << lock.error().text;
  close(file);
}

TEST_F(StateLockTest, WhatIsNoLockFileIsRefused) {
  ASSERT_EQ(symlink("/dev/null", (directory_ + "/.lock").c_str()), 0);
  EXPECT_EQ(StateLock::take().error().error, EBADMSG);
  fs::remove(directory_ + "/.lock");
  ASSERT_EQ(mkfifo((directory_ + "/.lock").c_str(), 0600), 0);
  EXPECT_EQ(StateLock::take().error().error, EBADMSG);
}

}  // namespace
}  // namespace sluice
