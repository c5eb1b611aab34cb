// life_of() reports a process as alive or dead only if that is certain, and else as unknown.
#include "daemon/process_life.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace sluice {
namespace {

// Runs `action` in a child process; returns its result, or 255.
int in_child(const std::function<int()>& action) {
  const pid_t child = fork();
  if (child == 0) _exit(action());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

constexpr int kCannot = 254;  // this process lacks a permission that the test needs

// Runs `action` in a mount namespace of its own, in which /proc is mounted with `options`, or not
// at all if null.
int with_proc(const char* options, const std::function<int()>& action) {
  return in_child([&] {
    const bool away = unshare(CLONE_NEWNS) == 0 &&
                      mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                      umount2("/proc", MNT_DETACH) == 0;
    if (!away) return kCannot;
    if (options != nullptr && mount("proc", "/proc", "proc", 0, options) != 0) return kCannot;
    return action();
  });
}

class Sleeper {
 public:
  Sleeper() : pid_(fork()) {
    if (pid_ == 0) {
      while (true) pause();
    }
  }
  ~Sleeper() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  // Kills the process, and leaves a zombie.
  void kill_only() const {
    kill(pid_, SIGKILL);
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  ProcessMark mark() const {
    return {.pid = pid_, .started = *process_start_time(pid_), .scope = process_scope()};
  }

 private:
  pid_t pid_;
};

TEST(ProcessLife, ThisProcessIsAlive) { EXPECT_EQ(life_of(this_process()), Life::alive); }

TEST(ProcessLife, AnotherWithItsNumberIsNotIt) {
  ProcessMark mark = this_process();
  mark.started += 1;
  EXPECT_EQ(life_of(mark), Life::dead);
}

TEST(ProcessLife, OneThatWasKilledIsDeadBeforeAndAfterItIsReaped) {
  ProcessMark mark;
  {
    const Sleeper sleeper;
    mark = sleeper.mark();
    EXPECT_EQ(life_of(mark), Life::alive);
    sleeper.kill_only();
    EXPECT_EQ(life_of(mark), Life::dead);
  }
  EXPECT_EQ(life_of(mark), Life::dead);
  mark.scope.clear();  // as in records of older programs
  EXPECT_EQ(life_of(mark), Life::dead);
}

TEST(ProcessLife, WhatWasNotNotedCannotBeCompared) {
  ProcessMark mark = this_process();
  mark.started = 0;
  EXPECT_EQ(life_of(mark), Life::unknown);
}

TEST(ProcessLife, OfAnotherNamespaceNothingIsKnown) {
  ProcessMark mark = this_process();
  mark.scope.insert(0, "1");
  EXPECT_EQ(life_of(mark), Life::unknown);
  EXPECT_FALSE(counts_as_here(mark));
}

TEST(ProcessLife, NobodySurvivesABoot) {
  ProcessMark mark = this_process();
  char& digit = mark.scope.back();
  digit = digit == '0' ? '1' : '0';
  EXPECT_EQ(life_of(mark), Life::dead);
}

TEST(ProcessLife, WithoutProcItIsUnknown) {
  const ProcessMark mark = this_process();
  const int seen = with_proc(nullptr, [&] { return static_cast<int>(life_of(mark)); });
  if (seen == kCannot) GTEST_SKIP() << "only root can be without /proc";
  EXPECT_EQ(seen, static_cast<int>(Life::unknown));
}

TEST(ProcessLife, WithoutProcANumberThatNobodyHasIsStillNotDeadElsewhere) {
  ProcessMark mark;
  {
    mark = Sleeper().mark();
  }
  const int seen = with_proc(nullptr, [&] { return static_cast<int>(life_of(mark)); });
  if (seen == kCannot) GTEST_SKIP() << "only root can be without /proc";
  EXPECT_EQ(seen, static_cast<int>(Life::unknown));
}

TEST(ProcessLife, WhereProcHidesItItIsUnknown) {
  const ProcessMark mark = this_process();
  for (const char* const options : {"hidepid=1", "hidepid=2"}) {
    const int seen = with_proc(options, [&] {
      if (setgid(65534) != 0 || setuid(65534) != 0) return kCannot;
      return static_cast<int>(life_of(mark));
    });
    if (seen == kCannot) GTEST_SKIP() << "only root can mount /proc";
    EXPECT_EQ(seen, static_cast<int>(Life::unknown)) << options;
  }
}

// This /proc shows other processes by the same numbers.
TEST(ProcessLife, TheProcOfAnotherNamespaceIsNotBelieved) {
  const int seen = in_child([] {
    if (unshare(CLONE_NEWPID) != 0) return kCannot;
    return in_child([] {
      const ProcessMark mark = this_process();
      return mark.pid == 1 && mark.started != 0 ? static_cast<int>(life_of(mark)) : 253;
    });
  });
  if (seen == kCannot) GTEST_SKIP() << "only root can make a pid namespace";
  EXPECT_EQ(seen, static_cast<int>(Life::unknown));
}

TEST(ProcessLife, TheSuffixOfAFileNamesItsWriter) {
  const auto mark = parse_mark_suffix(mark_suffix());
  ASSERT_TRUE(mark);
  EXPECT_EQ(life_of(*mark), Life::alive);
  EXPECT_EQ(life_of(*parse_mark_suffix("1.1.12345")), Life::unknown);
  const auto old = parse_mark_suffix("4194304");  // above the largest pid
  ASSERT_TRUE(old);
  EXPECT_EQ(life_of(*old), Life::dead);
  for (const char* const text : {"", "x", "-1", "0", "12.", "12.x", "12.13", "12 "}) {
    EXPECT_FALSE(parse_mark_suffix(text)) << text;
  }
}

}  // namespace
}  // namespace sluice
