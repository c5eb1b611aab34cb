// The command line of `sluice snapshot`. tests/interop/qcow2_snapshot.sh has what it does to
// images.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "unit/cli/image_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class SnapshotLine : public ImageLines {
 protected:
  const std::string path_ = image("image");
};

TEST_F(SnapshotLine, TheListIsPrintedByDefault) {
  EXPECT_EQ(done({"snapshot", path_}), "") << "there is none";
  EXPECT_EQ(done({"snapshot", "-c", "first", path_}), "");
  const std::string list = done({"snapshot", path_});
  EXPECT_THAT(list, StartsWith("Snapshot list:\nID "));
  EXPECT_THAT(list, HasSubstr("\n1         first "));
  EXPECT_EQ(done({"snapshot", "-l", path_}), list);
  EXPECT_EQ(done({"snapshot", "-l", "-U", "-q", path_}), list);
}

TEST_F(SnapshotLine, ListAndChangesAreJsonIfWanted) {
  const auto json = [](const Words& words) { return nlohmann::json::parse(done(words)); };
  EXPECT_EQ(json({"snapshot", "--json", path_}), nlohmann::json::array());
  EXPECT_EQ(done({"snapshot", "-q", "--create", "first", path_}), "");
  const auto taken = json({"snapshot", "-c", "second", "--json", path_});
  EXPECT_EQ(taken.at("id"), "2");
  EXPECT_EQ(taken.at("name"), "second");
  EXPECT_EQ(taken.at("disk-size"), 1 << 20);
  const auto list = json({"snapshot", "-l", "--json", path_});
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].at("name"), "first");
  EXPECT_EQ(list[1], taken);
  EXPECT_EQ(json({"snapshot", "-a", "1", "--json", path_}), list[0]);
  EXPECT_EQ(json({"snapshot", "-d", "2", "--json", path_}), taken);
  EXPECT_EQ(done({"snapshot", "--delete", "first", path_}), "");
  EXPECT_EQ(done({"snapshot", "--list", path_}), "");
}

// As qemu-img does, with exit status 1 for all of it.
TEST_F(SnapshotLine, WrongLinesAreRefused) {
  refused({"snapshot"}, 1, "'sluice snapshot' needs a FILE");
  refused({"snapshot", "-l"}, 1, "'sluice snapshot' needs a FILE");
  refused({"snapshot", path_, "more"}, 1,
          "unexpected argument 'more' (see 'sluice help snapshot')");
  for (const Words& words : {Words{"snapshot", "-l", "-c", "one", path_},
                             Words{"snapshot", "-c", "one", "-d", "one", path_},
                             Words{"snapshot", "-c", "one", "-c", "two", path_},
                             Words{"snapshot", "-a", "one", "-d", "one", path_}}) {
    refused(words, 1, "give one of -l, -c, -d and -a, once");
  }
  refused({"snapshot", "-U", "-c", "one", path_}, 1,
          "-U is for a list: a change needs the image alone");
  refused({"snapshot", "-c"}, 1, "option -c needs its NAME");
}

TEST_F(SnapshotLine, WhatCannotBeDoneIsRefused) {
  const std::string disk = raw("disk");
  refused({"snapshot", disk}, 1,
          fmt::format("'{}' is a raw image, which cannot have snapshots", disk));
  refused({"snapshot", "-c", "one", disk}, 1,
          fmt::format("'{}' is a raw image, which cannot have snapshots", disk));
  refused({"snapshot", path("none")}, 1,
          fmt::format("'{}' does not exist: check the path", path("none")));
  refused({"snapshot", "-d", "one", path_}, 1,
          fmt::format("'{}' has no snapshot 'one': sluice snapshot -l lists them", path_));
  refused({"snapshot", "-c", "", path_}, 1, "the name of a snapshot has 1 to 255 bytes, found 0");
}

}  // namespace
}  // namespace sluice::cli::test
