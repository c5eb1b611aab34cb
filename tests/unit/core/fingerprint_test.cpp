#include "core/fingerprint.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::StartsWith;

Fingerprint of(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  auto found = Fingerprint::of(file.number(), path);
  EXPECT_TRUE(found) << found.error().text;
  return found ? *found : Fingerprint();
}

TEST(FingerprintTest, OneFileHasOneByWhateverName) {
  const TempDir directory;
  const std::string path = directory.file("a.img", 4096);
  ASSERT_EQ(link(path.c_str(), directory.path("b.img").c_str()), 0);
  const Fingerprint before = of(path);
  EXPECT_THAT(before.is, StartsWith("file "));
  EXPECT_TRUE(before.is_same_as(of(directory.path("b.img"))));
  ASSERT_EQ(truncate(path.c_str(), 8192), 0);
  EXPECT_TRUE(before.is_same_as(of(path))) << "what is in it does not matter";
}

TEST(FingerprintTest, AnotherFileHasAnother) {
  const TempDir directory;
  const Fingerprint one = of(directory.file("a.img", 4096));
  EXPECT_FALSE(one.is_same_as(of(directory.file("b.img", 4096))));
}

TEST(FingerprintTest, AnInodeThatIsUsedAgainIsToldByItsBirth) {
  const Fingerprint first{.is = "file 8:1 inode 12", .born_ns = 1};
  EXPECT_FALSE(first.is_same_as({.is = "file 8:1 inode 12", .born_ns = 2}));
  EXPECT_TRUE(first.is_same_as({.is = "file 8:1 inode 12"})) << "not every file system tells";
  EXPECT_FALSE(first.is_same_as({.is = "file 8:2 inode 12", .born_ns = 1}));
}

TEST(FingerprintTest, WhatIsClosedHasNone) { EXPECT_FALSE(Fingerprint::of(-1, "a.img")); }

// The loop device keeps its number, but is attached anew.
TEST(FingerprintTest, ADiskIsToldFromTheNextOneOfItsNumber) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to make a block device";
  const TempDir directory;
  const std::string file = directory.file("a.img", 1 << 20);
  const Undoable loop("losetup --find --show " + file, "losetup --detach {}");
  if (!loop.works()) GTEST_SKIP() << "no loop device: " << loop.output();
  const Fingerprint before = of(loop.output());
  EXPECT_THAT(before.is, StartsWith("disk 7:"));
  EXPECT_TRUE(before.is_same_as(of(loop.output())));
  const CommandResult again = run_command("losetup --detach " + loop.output() + " && losetup " +
                                          loop.output() + " " + file);
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_FALSE(before.is_same_as(of(loop.output())));
}

}  // namespace
}  // namespace sluice::test
