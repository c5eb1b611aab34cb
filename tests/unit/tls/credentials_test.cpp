#include "tls/credentials.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "unit/target/loop_rig.hpp"

namespace sluice::tls::test {
namespace {

struct CredentialsTest : testing::Test {
  std::string keys(const std::string& lines) const {
    std::ofstream(directory.path("keys")) << lines;
    return directory.path("keys");
  }
  static std::string hex(size_t bytes) { return std::string(2 * bytes, 'a'); }

  sluice::test::TempDir directory;
};

TEST_F(CredentialsTest, KeysAreNamedLines) {
  const std::string two = "# ours\nme:" + hex(32) + "\n\nyou:" + hex(16) + "\n";
  EXPECT_TRUE(Credentials::of_server({.psk_file = keys(two)}));
  EXPECT_TRUE(Credentials::of_client({.psk_file = keys(two), .psk_name = "you"}));
  EXPECT_TRUE(Credentials::of_client({.psk_file = keys("me:" + hex(256))}));
  const auto several = Credentials::of_client({.psk_file = keys(two)});
  ASSERT_FALSE(several);
  EXPECT_EQ(several.error().error, EINVAL);
  const auto nobody = Credentials::of_client({.psk_file = keys(two), .psk_name = "nobody"});
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().error, ESRCH);
}

// No error shows what is in the file.
TEST_F(CredentialsTest, OtherLinesAreRefusedByNumber) {
  const std::string well = "me:" + hex(32) + "\n";
  for (const std::string& line :
       {std::string("me"), ":" + hex(32), "you:" + hex(15), "you:" + hex(257),
        "you:" + hex(16) + "a", "you:" + std::string(32, 'g'), "you:" + hex(32) + "\r",
        "me:" + hex(32), std::string(256, 'n') + ":" + hex(32)}) {
    const auto made = Credentials::of_server({.psk_file = keys(well + line + "\n")});
    ASSERT_FALSE(made) << line;
    EXPECT_EQ(made.error().error, EINVAL);
    EXPECT_NE(made.error().text.find("line 2 of "), std::string::npos) << made.error().text;
    EXPECT_EQ(made.error().text.find("aaaa"), std::string::npos) << made.error().text;
  }
  EXPECT_FALSE(Credentials::of_server({.psk_file = keys("# none\n")}));
}

TEST_F(CredentialsTest, OnlyRegularFilesAreRead) {
  const std::string pipe = directory.path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const auto made = Credentials::of_server({.psk_file = pipe});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().error, EINVAL);
  EXPECT_EQ(Credentials::of_server({.psk_file = directory.path("none")}).error().error, ENOENT);
  EXPECT_EQ(Credentials::of_server({.certificates = directory.path()}).error().error, ENOENT);
}

TEST_F(CredentialsTest, ACertificateNeedsANameToVerify) {
  const auto made = Credentials::of_client({.verify_peer = true});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().error, EINVAL);
  EXPECT_TRUE(Credentials::of_client({.peer_name = "localhost"}));
  EXPECT_TRUE(Credentials::of_client({.verify_peer = false}));
}

}  // namespace
}  // namespace sluice::tls::test
