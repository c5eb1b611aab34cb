// Commands to the targets of a stack: their notation, their paths, and who carries them out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target/control_call.hpp"
#include "target/verb.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string verb_error(std::string_view type, const std::string& name,
                       std::vector<std::string> arguments = {}) {
  const auto verb = read_verb(type, name, arguments, "/");
  return verb ? "" : verb.error().text;
}

TEST(Verb, IsReadFromWordsAndSurvivesItsJson) {
  const auto verb = read_verb("fault", "power_cut", {}, "/");
  ASSERT_TRUE(verb) << verb.error().text;
  EXPECT_EQ(verb->target, "power_cut");
  const auto again = parse_verb(verb_json(*verb, "fault"), "fault");
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(*again, *verb);
}

TEST(Verb, TakesANameAsItIs) {
  const std::vector<std::string> name{"a, b=(c)"};
  const auto verb = read_verb("qcow2", "snapshot-create", name, "/");
  ASSERT_TRUE(verb) << verb.error().text;
  EXPECT_EQ(verb->text("name"), name.front());
  const auto again = parse_verb(verb_json(*verb, "qcow2"), "qcow2");
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(*again, *verb);
  EXPECT_THAT(verb_error("qcow2", "snapshot-create"), HasSubstr("takes one argument, its name"));
  EXPECT_THAT(verb_error("qcow2", "snapshot-delete", {"a", "b"}), HasSubstr("found 2"));
  EXPECT_FALSE(parse_verb(R"({"target": "snapshot-create"})", "qcow2"));
}

TEST(Verb, OfAnotherTypeIsRefused) {
  EXPECT_THAT(verb_error("fault", "power_on"),
              HasSubstr("a target 'fault' has no verb 'power_on': it has power_cut"));
  EXPECT_THAT(verb_error("null", "power_cut"), HasSubstr("a target 'null' has no verbs"));
  EXPECT_THAT(verb_error("nothing", "power_cut"), HasSubstr("has no verbs"));
  EXPECT_THAT(verb_error("fault", "null"), HasSubstr("no verb 'null'")) << "it is a target";
  EXPECT_THAT(verb_error("fault", "power_cut", {"hard=yes"}), HasSubstr("hard"));
  EXPECT_FALSE(parse_verb(R"({"target": "null", "size": "1M"})", "fault")) << "not a verb";
}

TEST(StackControl, EveryTargetHasAPath) {
  const auto stack = std::move(*open_stack("stripe(fault(null:1M), linear(mem:1M, null:1M))"));
  std::vector<std::string> found;
  for (const StackNode& node : stack->nodes()) found.push_back(node.path + " " + node.type);
  EXPECT_THAT(found, ElementsAre("/ stripe", "/0 fault", "/0/0 null", "/1 linear", "/1/0 mem",
                                 "/1/1 null"));
}

TEST(StackControl, AVerbReachesItsTargetWhileRequestsAreServed) {
  LiveStack live("linear(mem:1M, fault(mem:1M))");
  const Block block(4096, 'x');
  ASSERT_TRUE(live.write(1 << 20, block).ok());
  const Spec power_cut{.target = "power_cut"};
  const auto answer = live.stack().control("/1", power_cut);
  ASSERT_TRUE(answer) << answer.error().text;
  EXPECT_THAT(answer->items, IsEmpty());
  EXPECT_TRUE(live.write(0, block).ok());
  EXPECT_EQ(live.write(1 << 20, block).error(), EIO);
}

TEST(StackControl, APathThatDoesNotExistIsRefused) {
  const auto stack = std::move(*open_stack("linear(mem:1M, fault(mem:1M))"));
  const Spec power_cut{.target = "power_cut"};
  for (const char* const path : {"", "1", "/2", "/1/1", "/1/", "//1", "/x", "/1x", "/-1",
                                 "/18446744073709551616", "/1/0/0"}) {
    const auto answer = stack->control(path, power_cut);
    ASSERT_FALSE(answer) << path;
    EXPECT_EQ(answer.error().error, ENOENT) << path;
  }
  EXPECT_EQ(stack->control("/0", power_cut).error().error, EOPNOTSUPP);
}

}  // namespace
}  // namespace sluice::test
