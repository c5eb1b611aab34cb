// Sockets that another process has made, and sockets in a private place.
#include "frontend/nbd/passed_socket.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "frontend/nbd/private_socket.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::nbd::test {
namespace {

using testing::HasSubstr;

void expect_refused(int socket, const std::string& why) {
  const auto address = address_of(socket);
  ASSERT_FALSE(address) << why;
  EXPECT_EQ(address.error().error, EINVAL);
  EXPECT_THAT(address.error().text, HasSubstr(why));
}

TEST(NbdPassedSocket, HasTheAddressWhereItListens) {
  const sluice::test::TempDir directory;
  for (const std::string& text :
       {"unix:" + directory.path("sock"), std::string("unix:@sluice-passed-socket"),
        std::string("tcp:127.0.0.1:0"), std::string("tcp:[::1]:0")}) {
    auto made = *ListenAddress::parse(text);
    const auto listener = listen_on(made);
    if (!listener) continue;  // no IPv6
    const auto found = address_of(listener->socket.number());
    ASSERT_TRUE(found) << found.error().text;
    EXPECT_EQ(found->text(), made.text());
    EXPECT_EQ(found->uri("disk", false), made.uri("disk", false));
  }
}

TEST(NbdPassedSocket, IsTakenAsItIs) {
  const sluice::test::TempDir directory;
  const std::string path = directory.path("sock");
  auto made = *ListenAddress::parse("unix:" + path);
  auto theirs = *listen_on(made);
  const int passed = theirs.socket.release();
  fcntl(passed, F_SETFD, 0);
  fcntl(passed, F_SETFL, O_NONBLOCK);
  auto address = *address_of(passed);
  auto ours = *listen_on(address);
  EXPECT_EQ(ours.socket.number(), passed);
  EXPECT_EQ(fcntl(passed, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(passed, F_GETFL) & O_NONBLOCK, 0);
  ours.remove_file();
  EXPECT_TRUE(std::filesystem::exists(path)) << "it belongs to the other process";
}

TEST(NbdPassedSocket, MustListen) {
  expect_refused(1000, "not open");
  const Descriptor file(open("/dev/null", O_RDWR | O_CLOEXEC));
  expect_refused(file.number(), "no socket");
  const Descriptor datagrams(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  expect_refused(datagrams.number(), "no stream socket");
  const Descriptor packets(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  expect_refused(packets.number(), "no stream socket");
  const Descriptor idle(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  expect_refused(idle.number(), "a socket that does not listen");
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  expect_refused(ends[0], "a socket that does not listen");
  for (const int each : ends) close(each);
}

TEST(NbdPrivateSocket, IsInADirectoryOfItsOwnThatGoesWithIt) {
  ListenAddress address{.transport = Transport::unix_socket, .is_private = true};
  auto listener = listen_on(address);
  ASSERT_TRUE(listener) << listener.error().text;
  EXPECT_EQ(address.socket, listener->file);
  const std::string directory = private_directory_of(listener->file);
  struct stat status{};
  ASSERT_EQ(stat(directory.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0700U);
  EXPECT_TRUE(std::filesystem::is_socket(listener->file));
  listener->remove_file();
  EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST(NbdPrivateSocket, OtherDirectoriesStay) {
  for (const std::string path :
       {"/run/sock", "/tmp/sluice-nbd.abcdef/disk", "/tmp/sluice-nbd./sock", "sock", ""}) {
    EXPECT_EQ(private_directory_of(path), "") << path;
  }
  EXPECT_EQ(private_directory_of("/tmp/sluice-nbd.abcdef/sock"), "/tmp/sluice-nbd.abcdef");
}

TEST(NbdPrivateSocket, APlaceThatCannotBeMadeIsNamed) {
  const std::string before = getenv("TMPDIR") == nullptr ? "" : getenv("TMPDIR");
  setenv("TMPDIR", "/proc/none", 1);
  const auto place = make_private_place();
  setenv("TMPDIR", (std::string("/tmp/") + std::string(100, 'x')).c_str(), 1);
  std::filesystem::create_directory(getenv("TMPDIR"));
  ListenAddress address{.transport = Transport::unix_socket, .is_private = true};
  const auto listener = listen_on(address);
  const bool is_empty = std::filesystem::is_empty(getenv("TMPDIR"));
  std::filesystem::remove_all(getenv("TMPDIR"));
  if (before.empty()) unsetenv("TMPDIR");
  if (!before.empty()) setenv("TMPDIR", before.c_str(), 1);
  ASSERT_FALSE(place);
  EXPECT_THAT(place.error().text, HasSubstr("/proc/none"));
  ASSERT_FALSE(listener) << "the path of a socket has at most 107 bytes";
  EXPECT_THAT(listener.error().text, HasSubstr("File name too long"));
  EXPECT_TRUE(is_empty);
}

}  // namespace
}  // namespace sluice::nbd::test
