// The table of targets: what every row must have.
#include <gmock/gmock.h>

#include <set>

#include "spec/rules.hpp"
#include "target/registry.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

TEST(Registry, EveryTargetIsDescribedAndCanBeOpened) {
  std::set<std::string_view> names;
  std::set<std::string_view> prefixes;
  for (const TargetType& type : target_types()) {
    const TargetSyntax& syntax = type.syntax;
    EXPECT_TRUE(names.insert(syntax.name).second) << syntax.name << " is there twice";
    EXPECT_FALSE(syntax.summary.empty()) << syntax.name;
    EXPECT_NE(type.open, nullptr) << syntax.name;
    EXPECT_LE(syntax.children_minimum, syntax.children_maximum) << syntax.name;
    if (syntax.leaf_option.empty()) continue;
    EXPECT_NE(find_option(syntax, syntax.leaf_option), nullptr) << syntax.name;
    EXPECT_TRUE(prefixes.insert(leaf_prefix(syntax)).second) << leaf_prefix(syntax);
  }
  EXPECT_EQ(names.size(), target_vocabulary().size());
}

TEST(Registry, EveryOptionIsDescribedAndItsDefaultCanBeWritten) {
  for (const TargetSyntax& syntax : target_vocabulary()) {
    std::set<std::string_view> names;
    for (const OptionSyntax& option : syntax.options) {
      EXPECT_TRUE(names.insert(option.name).second) << syntax.name << '.' << option.name;
      EXPECT_FALSE(option.help.empty()) << syntax.name << '.' << option.name;
      if (option.fallback.empty()) continue;
      EXPECT_FALSE(option.required) << syntax.name << '.' << option.name;
      EXPECT_TRUE(read_value(option, option.fallback, Place())) << option.fallback;
    }
  }
}

TEST(Registry, KnowsWhatTheManualNames) {
  std::vector<std::string_view> names;
  for (const TargetSyntax& syntax : target_vocabulary()) names.push_back(syntax.name);
  EXPECT_THAT(
      names, testing::IsSupersetOf({"null", "mem", "loop", "linear", "stripe", "fault", "verify"}));
}

TEST(Registry, ABareNameIsAFile) {
  const auto spec = parse_spec("a.img", target_vocabulary());
  ASSERT_TRUE(spec) << spec.error().text;
  EXPECT_EQ(spec->target, "loop");
  EXPECT_EQ(spec->text("file"), "a.img");
}

TEST(Registry, FilesAreSlotsInTheOrderInWhichTheyWereAdded) {
  const TempDir directory;
  auto stack = open_stack("linear(" + directory.file("a", 4096) + ", mem:1M, " +
                          directory.file("b", 4096) + ")");
  ASSERT_TRUE(stack) << stack.error().text;
  EXPECT_EQ((*stack)->files().size(), 3U);

  OpenContext context(/*read_only=*/true);
  EXPECT_TRUE(context.read_only());
  EXPECT_EQ(context.add_file(17).number, 0);
  const File second = context.add_file(18);
  EXPECT_EQ(second.number, 1);
  EXPECT_TRUE(second.registered);
  EXPECT_EQ(context.take_files(), (std::vector<int>{17, 18}));
}

}  // namespace
}  // namespace sluice::test
