// The words that shells offer for completion.
#include "cli/complete.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/command.hpp"
#include "support/state_folder.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

// Without the descriptions.
Words words_for(const Words& words) {
  Words bare;
  for (const std::string& each : complete(words)) bare.push_back(each.substr(0, each.find('\t')));
  return bare;
}

TEST(Complete, OffersCommands) {
  const Words all = words_for({""});
  for (const Command* const command : commands()) EXPECT_THAT(all, Contains(command->name));
  EXPECT_THAT(all, Not(Contains(kCompleteWord)));
  EXPECT_THAT(words_for({"fe"}), ElementsAre("features"));
  EXPECT_THAT(words_for({"x"}), IsEmpty());
  EXPECT_EQ(words_for({}), all);
}

TEST(Complete, OffersOptions) {
  EXPECT_THAT(words_for({"add", "--max"}), ElementsAre("--max_io_buf_bytes"));
  EXPECT_THAT(words_for({"del", "--"}),
              ElementsAre("--help", "--number", "--all", "--async", "--force"));
  EXPECT_THAT(words_for({"del", "-"}), Contains("-a"));
  EXPECT_THAT(words_for({"list", "--"}), Contains("--json"));
  EXPECT_THAT(words_for({"add", "--na"}), ElementsAre("--name"));
  EXPECT_THAT(words_for({"nonsense", "-"}), IsEmpty());
}

TEST(Complete, OffersOptionsOfTheTarget) {
  EXPECT_THAT(words_for({"add", "-t", "stripe", "--ch"}), ElementsAre("--chunk"));
  EXPECT_THAT(words_for({"add", "-t", "null", "--ch"}), IsEmpty());
}

TEST(Complete, OffersValues) {
  EXPECT_THAT(words_for({"add", "-t", "st"}), ElementsAre("stripe"));
  EXPECT_THAT(words_for({"add", "--type=st"}), ElementsAre("--type=stripe"));
  EXPECT_THAT(words_for({"add", "--mode", ""}),
              ElementsAre("auto", "register", "user_copy", "get_data", "copy", "passthrough",
                          "uring_zc", "uring", "splice"));
  EXPECT_THAT(words_for({"add", "-r", ""}), ElementsAre("0", "1"));
  EXPECT_THAT(words_for({"add", "-t", "loop", "--buffered_io=n"}), ElementsAre("--buffered_io=no"));
  EXPECT_THAT(words_for({"add", "-q", ""}), IsEmpty());
  EXPECT_THAT(words_for({"add", "--run", ""}), IsEmpty()) << "no command of this program";
  EXPECT_THAT(words_for({"help", "ta"}), ElementsAre("targets"));
  EXPECT_THAT(words_for({"targets", "nu"}), ElementsAre("null"));
}

TEST(Complete, OffersDevicesByNumberNameAndPath) {
  sluice::test::StateFolder state;
  state.add({.id = 3, .name = "db", .frontend = "loop", .path = "/dev/loop7"});
  state.add({.id = 12, .frontend = "fuse", .path = "/srv/view.img"});
  for (const Words& words : {Words{"del", ""}, Words{"del", "-n", ""}, Words{"stat", "--json", ""},
                             Words{"resize", "--number", ""}}) {
    const Words offered = words_for(words);
    for (const char* const device : {"3", "12", "db", "/dev/loop7", "/srv/view.img"}) {
      EXPECT_THAT(offered, Contains(device)) << testing::PrintToString(words);
    }
  }
  EXPECT_THAT(words_for({"inspect", "/dev/lo"}), ElementsAre("/dev/loop7"));
  EXPECT_THAT(words_for({"inspect", "--number=d"}), ElementsAre("--number=db"));
  EXPECT_THAT(words_for({"del", "db", ""}), Contains("--force")) << "there is no other word";
  EXPECT_THAT(words_for({"resize", "db", ""}), IsEmpty()) << "a SIZE";
  EXPECT_THAT(words_for({"resize", "-n", "3", ""}), IsEmpty());
}

TEST(Complete, AsksForFiles) {
  EXPECT_THAT(words_for({"add", "-f", "/tm"}), ElementsAre(kFilesWanted));
  EXPECT_THAT(words_for({"add", ""}), ElementsAre(kFilesWanted));
  EXPECT_THAT(words_for({"add", "--file=x"}), ElementsAre(kFilesWanted));
}

}  // namespace
}  // namespace sluice::cli::test
