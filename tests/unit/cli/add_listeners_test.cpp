// Where clients of `sluice add` connect, the command of --run, and --ready_fd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/ready_descriptor.hpp"
#include "core/descriptor.hpp"
#include "frontend/types.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// With descriptors that were passed to this process.
Outcome<AddRequest> read_passed(const Words& words, std::span<const int> passed) {
  CommandLine line("add");
  declare_add(line, words);
  if (auto parsed = line.parse(words); !parsed) return std::unexpected(parsed.error());
  std::istringstream in;
  return read_add(line, in, passed);
}

void expect_usage(const Outcome<AddRequest>& request, const std::string& words) {
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().exit, Exit::usage);
  EXPECT_THAT(request.error().text, HasSubstr(words));
}

struct AddListeners : testing::Test {
  AddListeners() { listen(listener.number(), 1); }

  const Descriptor listener{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int number = listener.number();
};

TEST_F(AddListeners, PassedSocketsAreInPlaceOfAddresses) {
  const auto request = read_passed({"--frontend", "nbd", "--foreground", "null:1M"}, {{number}});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_THAT(request->serve.frontend.sockets, ElementsAre(number));
  EXPECT_THAT(request->serve.kept, ElementsAre(number));
  EXPECT_FALSE(request->serve.frontend.private_socket);
}

TEST_F(AddListeners, OnesThatListenAskForAFrontEnd) {
  const auto request = read_passed({"--foreground", "null:1M"}, {{number}});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_EQ(request->serve.frontend.type, &kNbdFrontend);
  EXPECT_THAT(request->serve.frontend.sockets, ElementsAre(number));
  // But none that cannot use them.
  const auto fuse = read_passed({"--foreground", "--at", "/x", "null:1M"}, {{number}});
  ASSERT_TRUE(fuse) << fuse.error().text;
  EXPECT_THAT(fuse->serve.frontend.sockets, IsEmpty());
  EXPECT_THAT(fuse->serve.kept, ElementsAre(number));
  const auto file = read_passed({"--foreground", "null:1M"}, {{STDIN_FILENO}});
  ASSERT_TRUE(file) << file.error().text;
  EXPECT_EQ(file->serve.frontend.type, nullptr);
}

TEST_F(AddListeners, FilesOfTheStackAreNoSockets) {
  const auto request = read_passed(
      {"--frontend", "nbd", "--foreground", "-t", "loop", "-f", "/dev/fd/77"}, {{77, number}});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_THAT(request->serve.frontend.sockets, ElementsAre(number));
  const auto named = read_passed(
      {"--listen", "unix:/x", "--foreground", "-t", "loop", "-f", "/dev/fd/77"}, {{77}});
  ASSERT_TRUE(named) << named.error().text;
  EXPECT_THAT(named->serve.frontend.sockets, IsEmpty());
  EXPECT_THAT(named->serve.kept, ElementsAre(77));
}

TEST_F(AddListeners, BothOrNeitherIsRefused) {
  expect_usage(read_passed({"--listen", "unix:/x", "--foreground", "null:1M"}, {{number}}),
               "(LISTEN_FDS), and --listen names others: leave one of them out");
  expect_usage(read_passed({"--frontend", "nbd", "--foreground", "null:1M"}, {}),
               "front end 'nbd' needs --listen ADDRESS: ");
  expect_usage(read_passed({"--frontend", "nbd", "null:1M"}, {{number}}),
               "it serves them with --foreground");
}

TEST_F(AddListeners, ACommandNeedsNoAddress) {
  const auto request = read_words({"--frontend", "nbd", "--run", "true", "null:1M"});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_TRUE(request->serve.frontend.private_socket);
  EXPECT_TRUE(request->serve.foreground);
  EXPECT_TRUE(request->serve.quiet);
  EXPECT_EQ(request->run, "true");
  const auto named = read_words({"--listen", "unix:/x", "--run", "true", "null:1M"});
  ASSERT_TRUE(named) << named.error().text;
  EXPECT_FALSE(named->serve.frontend.private_socket);
  const auto passed = read_passed({"--run", "true", "null:1M"}, {{number}});
  ASSERT_TRUE(passed) << passed.error().text;
  EXPECT_FALSE(passed->serve.frontend.private_socket);
  EXPECT_THAT(passed->serve.frontend.sockets, ElementsAre(number));
  EXPECT_FALSE(read_words({"--run", "true", "null:1M"})->serve.frontend.private_socket);
}

TEST(AddRun, WhatDoesNotGoWithItIsRefused) {
  expect_usage(read_words({"--run", "", "null:1M"}), "--run is empty");
  expect_usage(read_words({"--run", "true", "--json", "null:1M"}), "--json does not go with --run");
  expect_usage(read_words({"--run", "true", "--foreground", "--resume", "null:1M"}),
               "--resume does not go with --run");
}

TEST(AddReadyFd, IsANumberBeyondTheStandardDescriptors) {
  EXPECT_EQ(read_words({"--ready-fd", "9", "null:1M"})->ready_fd, 9);
  EXPECT_EQ(read_words({"null:1M"})->ready_fd, -1);
  for (const char* const value : {"2", "x", "-1", "99999999999"}) {
    const auto request = read_words({std::string("--ready_fd=") + value, "null:1M"});
    ASSERT_FALSE(request) << value;
    EXPECT_EQ(request.error().exit, Exit::usage);
  }
}

TEST(AddReadyFd, GetsTheLineAndIsClosed) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor reader(ends[0]);
  EXPECT_TRUE(check_ready_descriptor(ends[1], {}));
  EXPECT_FALSE(check_ready_descriptor(ends[1], {{ends[1]}}));
  EXPECT_FALSE(check_ready_descriptor(ends[0], {})) << "it can only be read";
  EXPECT_TRUE(tell_ready(ends[1], "nbd://here/"));
  char text[100] = {};
  EXPECT_EQ(read(reader.number(), text, sizeof(text)), 12);
  EXPECT_STREQ(text, "nbd://here/\n");
  EXPECT_EQ(read(reader.number(), text, sizeof(text)), 0) << "its end";
  EXPECT_FALSE(check_ready_descriptor(ends[1], {})) << "it is closed";
}

TEST_F(AddListeners, TheServerMayGiveUpItsRights) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const Words nbd = {"--frontend", "nbd", "--listen", "unix:sock", "null:1M"};
  const auto with = [&](Words more) {
    more.insert(more.end(), nbd.begin(), nbd.end());
    return read_passed(more, {});
  };
  const auto request = with({"--privilege-drop", "nobody"});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_EQ(request->serve.frontend.user, "nobody");
  EXPECT_EQ(with({})->serve.frontend.user, "");
  expect_usage(with({"--privilege-drop", "no such user"}), "there is no such user");
  expect_usage(with({"--privilege-drop", "root"}), "this is root");
  expect_usage(with({"--privilege-drop", "nobody", "--run", "true"}), "does not go with --run");
  expect_usage(read_passed({"--privilege-drop", "nobody", "null:1M"}, {}), "add --frontend nbd");
  expect_usage(read_passed({"--privilege-drop", "nobody", "--at", "x", "null:1M"}, {}),
               "--privilege-drop is for front end 'nbd', not for 'fuse'");
}

}  // namespace
}  // namespace sluice::cli::test
