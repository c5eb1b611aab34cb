// The table of targets: the required parts of every row.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <set>

#include "spec/rules.hpp"
#include "support/open_leaf.hpp"
#include "target/open_context.hpp"
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
      EXPECT_TRUE(read_value(option, option.fallback, SourceLocation())) << option.fallback;
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

TEST(Registry, FilesHaveSlotsAndAreInTheOrderInWhichTheyWereAdded) {
  const TempDir directory;
  auto stack = open_stack("linear(" + directory.file("a", 4096) + ", mem:1M, " +
                          directory.file("b", 4096) + ")");
  ASSERT_TRUE(stack) << stack.error().text;
  EXPECT_EQ((*stack)->files().size(), 3U);

  OpenContext context(/*read_only=*/true);
  EXPECT_TRUE(context.read_only());
  const File first = context.add_file(17);
  const File second = context.add_file(18);
  EXPECT_TRUE(first.registered);
  EXPECT_NE(first.number, second.number);
  for (const RegisteredFile& file : (*stack)->registered_files()) {
    EXPECT_NE(file.slot.number, first.number) << "it belongs to another stack";
  }
  std::vector<int> files;
  for (OpenFile& file : context.take_files()) files.push_back(file.descriptor.release());
  EXPECT_EQ(files, (std::vector<int>{17, 18}));
}

// A target passes a key, or other state, to the next server in a file that no request uses.
TEST(Registry, APrivateFileIsInheritedButNotRegistered) {
  const TempDir directory;
  OpenContext context(/*read_only=*/false);
  const int state = memfd_create("state", MFD_CLOEXEC);
  ASSERT_EQ(pwrite(state, "secret", 6, 0), 6);
  context.add_private_file(state);
  context.add_file(open(directory.file("a", 4096).c_str(), O_RDWR | O_CLOEXEC));
  auto root = open_leaf("null:1M");
  root->own(context.take_files());
  const Stack stack(std::move(root));
  ASSERT_EQ(stack.files().size(), 2U);
  ASSERT_EQ(stack.registered_files().size(), 1U);
  EXPECT_EQ(stack.registered_files()[0].descriptor, stack.files()[1]);

  std::vector<Descriptor> passed;
  for (const int file : stack.files()) passed.emplace_back(dup(file));
  OpenContext next(/*read_only=*/false, {.files = std::move(passed)});
  const Descriptor inherited = next.inherit();
  char text[6];
  ASSERT_EQ(pread(inherited.number(), text, sizeof(text), 0), 6);
  EXPECT_EQ(std::string_view(text, sizeof(text)), "secret");
}

}  // namespace
}  // namespace sluice::test
