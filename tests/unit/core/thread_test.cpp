// start_thread: names, blocked signals, and the error if no thread can be started.
#include "core/thread.hpp"

#include <grp.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace sluice {
namespace {

constexpr uid_t kNobody = 65534;

TEST(Thread, HasItsNameAndNoSignals) {
  std::array<char, 16> name{};
  sigset_t blocked;
  auto thread = start_thread("sluice-test", [&] {
    pthread_getname_np(pthread_self(), name.data(), name.size());
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  });
  ASSERT_TRUE(thread) << thread.error().text;
  thread->join();
  EXPECT_STREQ(name.data(), "sluice-test");
  for (const int signal : {SIGTERM, SIGHUP, SIGXFSZ, SIGPIPE}) {
    EXPECT_EQ(sigismember(&blocked, signal), 1) << signal;
  }
  for (const int fault : {SIGSEGV, SIGABRT}) EXPECT_EQ(sigismember(&blocked, fault), 0) << fault;
}

TEST(Thread, LeavesTheSignalsOfItsParent) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  auto thread = start_thread("sluice-test", [] {});
  ASSERT_TRUE(thread);
  thread->join();
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGTERM, SIGHUP, SIGXFSZ}) {
    EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal)) << signal;
  }
}

// As another user, because the limit does not apply to root.
TEST(Thread, ThatCannotBeHadIsAnError) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit none{0, 0};
    if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setuid(kNobody) != 0)) _exit(2);
    if (setrlimit(RLIMIT_NPROC, &none) != 0) _exit(3);
    const auto thread = start_thread("sluice-test", [] {});
    if (thread) _exit(4);
    if (thread.error().error != EAGAIN) _exit(5);
    _exit(thread.error().text.contains("sluice-test") ? 0 : 6);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sluice
