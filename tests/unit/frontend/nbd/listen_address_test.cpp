// Where an NBD export can listen.
#include "frontend/nbd/listen_address.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "unit/target/loop_rig.hpp"

namespace sluice::nbd::test {
namespace {

TEST(NbdListenAddress, IsReadAndWritten) {
  for (const std::string text : {"unix:/run/a.sock", "unix:@name", "tcp:localhost:10809",
                                 "tcp:[::1]:0", "tcp:127.0.0.1:1", "vsock:5"}) {
    const auto address = ListenAddress::parse(text);
    ASSERT_TRUE(address) << address.error().text;
    EXPECT_EQ(address->text(), text);
  }
  for (const std::string text : {"", "unix:", "unix:@", "tcp:", "tcp:1", "tcp::1", "tcp:::1:1",
                                 "tcp:h:x", "tcp:h:65536", "vsock:", "/run/a.sock"}) {
    EXPECT_FALSE(ListenAddress::parse(text)) << text;
  }
  EXPECT_FALSE(ListenAddress::parse("unix:" + std::string(108, 'x')));
}

TEST(NbdListenAddress, ASocketFileIsRemovedOnceAndOnlyByItsOwner) {
  const sluice::test::TempDir directory;
  const std::string path = directory.path("sock");
  auto address = *ListenAddress::parse("unix:" + path);
  auto first = *listen_on(address);
  EXPECT_FALSE(is_dead_socket(path, first.inode));
  ASSERT_EQ(unlink(path.c_str()), 0);
  auto second = *listen_on(address);
  first.remove_file();
  EXPECT_TRUE(std::filesystem::exists(path)) << "it belongs to another server";
  const uint64_t inode = second.inode;
  second.socket = Descriptor();
  EXPECT_TRUE(is_dead_socket(path, inode));
  EXPECT_FALSE(is_dead_socket(path, inode + 1));
  second.remove_file();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(NbdListenAddress, APortIsChosenAndTold) {
  auto address = *ListenAddress::parse("tcp:127.0.0.1:0");
  const auto listener = listen_on(address);
  ASSERT_TRUE(listener) << listener.error().text;
  EXPECT_NE(address.port, 0U);
  EXPECT_EQ(address.uri("disk", false),
            "nbd://127.0.0.1:" + std::to_string(address.port) + "/disk");
}

}  // namespace
}  // namespace sluice::nbd::test
