// The command of `add --run`.
#include "daemon/companion.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

std::unique_ptr<Companion> started(const std::string& command, std::span<const int> withheld = {}) {
  auto companion = Companion::start(command, withheld);
  EXPECT_TRUE(companion) << companion.error().text;
  return std::move(*companion);
}

int status_of(const std::string& command, const std::string& path = "/dev/loop0") {
  const auto companion = started(command);
  EXPECT_TRUE(companion->begin(path));
  return companion->wait();
}

std::string contents(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

TEST(Companion, ItsStatusIsThatOfTheCommand) {
  EXPECT_EQ(status_of("true"), 0);
  EXPECT_EQ(status_of("exit 42"), 42);
  EXPECT_EQ(status_of("kill -KILL $$"), 128 + 9);
  EXPECT_EQ(status_of("/no/such/program 2> /dev/null"), 127);
}

TEST(Companion, ItIsToldThePath) {
  const TempDir directory;
  const std::string file = directory.path("told");
  const std::string command = "echo \"$path|$uri|$SLUICE_URI\" > " + file;
  ASSERT_EQ(unsetenv("uri"), 0);
  EXPECT_EQ(status_of(command), 0);
  EXPECT_EQ(contents(file), "/dev/loop0||\n");
  const std::string uri = "nbd+unix:///a b?socket=/run/sock";
  EXPECT_EQ(status_of(command, uri), 0);
  EXPECT_EQ(contents(file), uri + "|" + uri + "|" + uri + "\n");
}

TEST(Companion, ItGetsTheDescriptorsOfTheCallerButThoseWithheld) {
  const int given = open("/dev/null", O_RDONLY);
  const int withheld = open("/dev/null", O_RDONLY);
  const std::string command = "test -e /proc/self/fd/" + std::to_string(given) +
                              " && ! test -e /proc/self/fd/" + std::to_string(withheld);
  const auto companion = started(command, {{withheld}});
  EXPECT_TRUE(companion->begin("x"));
  EXPECT_EQ(companion->wait(), 0);
  close(given);
  close(withheld);
}

TEST(Companion, WithoutADeviceItNeverBegins) {
  const TempDir directory;
  const std::string file = directory.path("begun");
  EXPECT_EQ(started("touch " + file)->wait(), 0);
  EXPECT_EQ(contents(file), "");
}

TEST(Companion, ItsProcessesAreToldToEnd) {
  if (isatty(STDIN_FILENO) != 0) GTEST_SKIP() << "they share the terminal with this test";
  const TempDir directory;
  const std::string file = directory.path("pid");
  const auto companion = started("sleep 1000 & echo $! > " + file + "; wait");
  EXPECT_TRUE(companion->begin("x"));
  while (contents(file).empty()) usleep(1000);
  EXPECT_FALSE(companion->has_ended());
  companion->tell_to_end();
  EXPECT_EQ(companion->wait(), 128 + SIGTERM);
  const pid_t sleeper = std::stoi(contents(file));
  while (kill(sleeper, 0) == 0 &&
         contents("/proc/" + std::to_string(sleeper) + "/stat").find(" Z ") == std::string::npos) {
    usleep(1000);
  }
}

TEST(Companion, OneThatDoesNotEndIsKilled) {
  const TempDir directory;
  const std::string file = directory.path("begun");
  const auto companion = started("trap '' TERM; : > " + file + "; while :; do sleep 0.1; done");
  EXPECT_TRUE(companion->begin("x"));
  while (access(file.c_str(), F_OK) != 0) usleep(1000);
  companion->tell_to_end();
  EXPECT_EQ(companion->wait(), 128 + SIGKILL);
}

TEST(Companion, OneThatHasGoneCannotBegin) {
  const auto companion = started("true");
  signal(SIGPIPE, SIG_IGN);  // as the program does
  companion->tell_to_end();
  while (!companion->has_ended()) usleep(1000);
  EXPECT_FALSE(companion->begin("x"));
  EXPECT_EQ(companion->wait(), 128 + SIGTERM);
}

}  // namespace
}  // namespace sluice::test
