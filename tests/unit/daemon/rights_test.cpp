// A server that gives up its rights: its user, its system calls, and what its clerk believes.
#include "daemon/rights.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>

#include "core/descriptor.hpp"
#include "core/thread.hpp"
#include "daemon/call_filter.hpp"
#include "daemon/clerk_process.hpp"
#include "daemon/user.hpp"

namespace sluice::test {
namespace {

using testing::HasSubstr;

constexpr const char* kNobody = "nobody";

bool is_root() { return geteuid() == 0; }

// The exit status of a process that has the rights of nobody, and calls `check`.
int status_without_rights(const std::function<int()>& check) {
  const pid_t child = fork();
  if (child == 0) {
    const auto user = find_user(kNobody);
    _exit(user && give_up_rights(*user) ? check() : 100);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

int errno_of(long result) { return result < 0 ? errno : 0; }

struct Rights : testing::Test {
  void SetUp() override {
    if (!is_root()) GTEST_SKIP() << "needs root";
#if __has_feature(thread_sanitizer)
    GTEST_SKIP() << "this sanitizer starts no threads after fork()";
#endif
  }
};

TEST_F(Rights, TheUserIsAnother) {
  const auto user = find_user(kNobody);
  ASSERT_TRUE(user) << user.error().text;
  EXPECT_EQ(status_without_rights([&] {
              const bool is_user = getuid() == user->id && geteuid() == user->id &&
                                   getgid() == user->group && getegid() == user->group;
              return is_user ? 0 : 1;
            }),
            0);
  EXPECT_EQ(status_without_rights([] { return errno_of(open("/etc/shadow", O_RDONLY)); }), EACCES);
}

TEST_F(Rights, NoOtherSystemCallsAreMade) {
  char program[] = "/bin/true";
  char* const arguments[] = {program, nullptr};
  const std::function<long()> calls[] = {
      [&] { return execve(program, arguments, nullptr); },
      [] { return fork(); },
      [] { return mount("none", "/", nullptr, MS_PRIVATE, nullptr); },
      [] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); },
      [] { return unshare(CLONE_NEWUSER); },
      [] { return setuid(0); },
      [] { return kill(getppid(), SIGTERM); },
      [] { return kill(getpid(), SIGTERM); },
      [] { return syscall(SYS_tgkill, getppid(), getppid(), SIGTERM); },
      [] { return syscall(SYS_bpf, 0, nullptr, 0); },
      [] { return syscall(SYS_keyctl, 0, 0, 0, 0, 0); },
      [] { return syscall(SYS_process_vm_readv, getpid(), nullptr, 0, nullptr, 0, 0); },
      [] { return syscall(SYS_open_by_handle_at, 0, nullptr, 0); },
      [] { return syscall(SYS_pidfd_open, getppid(), 0); },
      [] { return syscall(SYS_userfaultfd, 0); },
      [] { return unlink("/no/such/file"); },
      [] { return mkdir("/tmp/never", 0700); },
      [] { return chmod("/no/such/file", 0777); },
  };
  int number = 0;
  for (const auto& call : calls) {
    EXPECT_EQ(status_without_rights([&] { return errno_of(call()); }), EPERM) << number;
    ++number;
  }
}

TEST_F(Rights, WhatAServerNeedsIsLeft) {
  EXPECT_EQ(status_without_rights([] {
              std::atomic<bool> ran = false;
              auto thread = start_thread("sluice-test", [&] { ran = true; });
              if (!thread) return 1;
              thread->join();
              int pipe[2];
              const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM, 0));
              const Descriptor memory(memfd_create("test", MFD_CLOEXEC));
              if (!ran || pipe2(pipe, 0) != 0 || !socket.valid()) return 2;
              if (ftruncate(memory.number(), 4096) != 0) return 3;
              if (kill(getppid(), 0) == 0 || errno != EPERM) return 4;
              return open("/proc/self/stat", O_RDONLY) < 0 ? 5 : 0;
            }),
            0);
}

// Also threads that were there before.
TEST_F(Rights, EveryThreadHasThem) {
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> stage = 0;
    auto thread = start_thread("sluice-test", [&] {
      stage.wait(0);
      stage =
          errno_of(open("/etc/shadow", O_RDONLY)) == EACCES && errno_of(unshare(CLONE_FS)) == EPERM
              ? 2
              : 3;
    });
    const auto user = find_user(kNobody);
    if (!thread || !user || !give_up_rights(*user)) _exit(100);
    stage = 1;
    stage.notify_all();
    thread->join();
    _exit(stage);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 2);
}

TEST_F(Rights, OnlyUsersWithoutRightsAreFound) {
  const auto by_name = find_user(kNobody);
  ASSERT_TRUE(by_name) << by_name.error().text;
  const auto by_number = find_user(std::to_string(by_name->id));
  ASSERT_TRUE(by_number) << by_number.error().text;
  EXPECT_EQ(by_number->group, by_name->group);
  for (const char* const name : {"root", "0"}) {
    EXPECT_THAT(find_user(name).error().text, HasSubstr("this is root")) << name;
  }
  for (const char* const name : {"", "no such user", "4294967295", "1x", "-1"}) {
    EXPECT_THAT(find_user(name).error().text, HasSubstr("there is no such user")) << name;
  }
}

TEST(Clerk, LittleOfARecordChanges) {
  DeviceRecord kept;
  kept.id = 3;
  kept.name = "disk";
  kept.pid = getpid();
  kept.pid_started = 7;
  kept.frontend = "nbd";
  kept.user = kNobody;
  kept.path = "nbd://localhost/";
  kept.traces.set("socket_files", "1 /run/sock");
  kept.threads = {getpid()};
  kept.size_bytes = 4096;
  DeviceRecord asked = kept;
  asked.id = 4;
  asked.name = "other";
  asked.pid = 1;
  asked.pid_started = 8;
  asked.frontend = "ublk";
  asked.user = "root";
  asked.path = "/dev/sda";
  asked.traces.set("socket_files", "1 /etc/passwd");
  asked.threads = {1};
  asked.size_bytes = 8192;
  asked.health = HealthState::failed;
  asked.health_reason = "a reason";
  DeviceRecord expected = kept;
  expected.size_bytes = 8192;
  expected.health = HealthState::failed;
  expected.health_reason = "a reason";
  EXPECT_EQ(to_json(with_changes(kept, asked)), to_json(expected));
}

TEST(Clerk, OnlyItsWordIsForIt) {
  const std::vector<std::string> words = {std::string(kClerkWord)};
  EXPECT_TRUE(is_for_clerk(words));
  EXPECT_FALSE(is_for_clerk(std::vector<std::string>{"add"}));
  EXPECT_FALSE(is_for_clerk({}));
}

}  // namespace
}  // namespace sluice::test
