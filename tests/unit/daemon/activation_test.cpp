// Descriptors that another process passes. Each test is a process of its own: they have the numbers
// from 3 on.
#include "daemon/activation.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

namespace sluice::test {
namespace {

constexpr int kGood = 0;

// Exits with 0 if `check` is content with the outcome.
[[noreturn]] void activate(const std::string& process, const std::string& count, int open_files,
                           const std::function<bool(const Result<std::vector<int>>&)>& check) {
  close_range(3, ~0U, 0);
  for (int i = 0; i < open_files; ++i) {
    if (open("/dev/null", O_RDONLY) != 3 + i) std::_Exit(2);
  }
  setenv("LISTEN_PID", process.c_str(), 1);
  setenv("LISTEN_FDS", count.c_str(), 1);
  setenv("LISTEN_FDNAMES", "a:b", 1);
  const auto taken = take_activated_descriptors();
  if (!taken) std::fprintf(stderr, "%s\n", taken.error().text.c_str());
  for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    if (std::getenv(name) != nullptr) std::_Exit(3);
  }
  std::_Exit(check(taken) ? kGood : 1);
}

std::string me() { return std::to_string(getpid()); }

bool are_three_and_four(const Result<std::vector<int>>& taken) {
  return taken && *taken == std::vector{3, 4} && fcntl(3, F_GETFD) == FD_CLOEXEC &&
         fcntl(4, F_GETFD) == FD_CLOEXEC && fcntl(5, F_GETFD) == 0;
}

bool are_none(const Result<std::vector<int>>& taken) { return taken && taken->empty(); }
bool are_refused(const Result<std::vector<int>>& taken) { return !taken; }

using testing::ExitedWithCode;

TEST(Activation, DescriptorsAreTakenOnce) {
  EXPECT_EXIT(activate(me(), "2", 3, are_three_and_four), ExitedWithCode(kGood), "");
  EXPECT_EXIT(activate(me(), "0", 3, are_none), ExitedWithCode(kGood), "");
}

TEST(Activation, ThoseOfAnotherProcessAreLeft) {
  EXPECT_EXIT(activate("1", "2", 3, are_none), ExitedWithCode(kGood), "");
  EXPECT_EXIT(activate("1", "nonsense", 3, are_none), ExitedWithCode(kGood), "");
}

// T1.20
TEST(Activation, VariablesAreNotTrusted) {
  for (const char* const count : {"", "-1", "x", "2x", " 2", "257", "99999999999", "0x2"}) {
    EXPECT_EXIT(activate(me(), count, 3, are_refused), ExitedWithCode(kGood),
                "LISTEN_FDS is .*: it must be a number up to 256");
  }
  EXPECT_EXIT(activate(me(), "4", 3, are_refused), ExitedWithCode(kGood),
              "LISTEN_FDS is 4, but descriptor 6 is not open");
  EXPECT_EXIT(activate(me(), "256", 3, are_refused), ExitedWithCode(kGood), "not open");
  for (const char* const process : {"", "x", "-1", "1x"}) {
    EXPECT_EXIT(activate(process, "1", 1, are_refused), ExitedWithCode(kGood), "LISTEN_PID is");
  }
}

TEST(Activation, WithoutVariablesThereAreNone) {
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDS");
  EXPECT_TRUE(are_none(take_activated_descriptors()));
}

}  // namespace
}  // namespace sluice::test
