// The value itself: accessors, the check of a Spec made by hand, both written forms, paths.
#include "spec/spec.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "unit/spec/spec_vocabulary.hpp"

namespace sluice::test {
namespace {

Spec parsed(std::string_view text) {
  const Result<Spec> spec = parse_spec(text, kVocabulary);
  EXPECT_TRUE(spec.has_value()) << text << ": " << spec.error().text;
  return spec.value_or(Spec());
}

Spec hole() { return {.target = "hole"}; }

void expect_refused(const Spec& spec, std::string_view sentence) {
  const Result<void> checked = check_spec(spec, kVocabulary);
  ASSERT_FALSE(checked.has_value()) << to_text(spec, kVocabulary);
  EXPECT_EQ(checked.error().text, sentence);
  EXPECT_EQ(checked.error().error, EINVAL);
}

TEST(Spec, GivesValuesOrFallbacks) {
  const Spec loop = parsed("loop(a.img, offset=1M, buffered_io, read_only=no)");
  EXPECT_EQ(loop.text("file"), "a.img");
  EXPECT_EQ(loop.number("offset", 7), uint64_t{1} << 20);
  EXPECT_EQ(loop.number("size", 7), 7U);
  EXPECT_TRUE(loop.flag("buffered_io"));
  EXPECT_FALSE(loop.flag("read_only"));
  EXPECT_FALSE(loop.flag("other"));
  EXPECT_EQ(loop.text("other"), "");
  EXPECT_TRUE(loop.has("read_only"));
  EXPECT_FALSE(loop.has("size"));
}

TEST(Spec, AValueOfAnotherKindIsNone) {
  const Spec loop = parsed("loop(a.img, offset=1M)");
  EXPECT_EQ(loop.number("file", 7), 7U);
  EXPECT_FALSE(loop.flag("offset"));
  EXPECT_EQ(loop.text("offset"), "");
}

TEST(Spec, SetsInPlaceOrAtTheEnd) {
  Spec loop = parsed("loop(a.img, offset=1M)");
  loop.set("file", "b.img");
  loop.set("read_only", true);
  EXPECT_EQ(loop, parsed("loop(b.img, offset=1M, read_only)"));
}

TEST(Spec, ChecksWhatWasMadeByHand) {
  EXPECT_TRUE(check_spec(parsed("stripe(a, linear(b, null:4k), chunk=64k)"), kVocabulary));
  Spec spec = hole();
  spec.target = "hol";
  expect_refused(spec,
                 "unknown target 'hol' at the top: did you mean 'hole'?"
                 " (sluice targets lists all)");
  spec = parsed("stripe(a, b)");
  spec.set("chunk", uint64_t{1});
  expect_refused(spec, "option 'chunk' at /chunk must be 4k or more, found 1");
  spec.set("chunk", "64k");
  expect_refused(spec, "the value of option 'chunk' at /chunk has the wrong type: give a number");
  spec = parsed("linear(a, loop(b, read_only))");
  spec.children[1].set("read_only", uint64_t{1});
  expect_refused(spec,
                 "the value of option 'read_only' at /children/1/read_only has the wrong type: give"
                 " yes or no");
  spec.children[1].set("read_only", true);
  spec.children[1].set("file", true);
  expect_refused(spec,
                 "the value of option 'file' at /children/1/file has the wrong type: give a text");
  spec.children[1].set("file", std::string("a\0b", 3));
  expect_refused(spec,
                 "the file name 'a\\x00b' at /children/1/file holds a NUL byte, which no file name"
                 " can");
  spec.children[1].set("file", "b");
  spec.children[1].options.emplace_back("file", "c");
  expect_refused(spec, "option 'file' of loop is given again at /children/1/file: give it once");
  spec = hole();
  spec.children.push_back(hole());
  expect_refused(spec, "target 'hole' at the top takes no children, found 1");
  spec = hole();
  spec.set("x", true);
  expect_refused(spec, "option 'x' at /x is refused: hole takes no options");
}

TEST(Spec, ChecksTheLimits) {
  Spec deep = hole();
  for (size_t level = 1; level < kSpecNestingMax; ++level) {
    Spec outer{.target = "linear"};
    outer.children.push_back(std::move(deep));
    deep = std::move(outer);
  }
  EXPECT_TRUE(check_spec(deep, kVocabulary));
  Spec deeper{.target = "linear", .children = {deep}};
  EXPECT_FALSE(check_spec(deeper, kVocabulary));

  Spec wide{.target = "linear"};
  wide.children.assign(kSpecChildrenMax, hole());
  EXPECT_TRUE(check_spec(wide, kVocabulary));
  wide.children.push_back(hole());
  expect_refused(wide,
                 "child 4097 of target 'linear' at /children/4096 is one too many: 4096 are the"
                 " limit");

  Spec long_one = parsed("a");
  long_one.set("file", std::string(kSpecBytesMax, 'a'));
  expect_refused(long_one, "the spec takes 1048603 bytes as JSON: 1048576 are the limit");
}

TEST(Spec, WritesTextAsAPersonWould) {
  const auto written = [](std::string_view text) { return to_text(parsed(text), kVocabulary); };
  EXPECT_EQ(written("file:/dev/sda1"), "/dev/sda1");
  EXPECT_EQ(written("loop(file=a.img)"), "a.img");
  EXPECT_EQ(written("null(65536)"), "null:64k");
  EXPECT_EQ(written("remote://host/x"), "remote://host/x");
  EXPECT_EQ(written("remote:\"//host/?a=b\""), "remote:\"//host/?a=b\"");
  EXPECT_EQ(written("remote:\"\""), "remote:\"\"");
  EXPECT_EQ(written("disk"), "\"disk\"");
  EXPECT_EQ(written("file:foo.x:bar"), "\"foo.x:bar\"");
  EXPECT_EQ(written("./foo:bar"), "./foo:bar");
  EXPECT_EQ(written(R"("a \"b\" \\c")"), R"("a \"b\" \\c")");
  EXPECT_EQ(written("hole()"), "hole()");
  EXPECT_EQ(written("loop(file=a.img,offset=1048576,buffered_io=1,read_only=0)"),
            "loop(a.img, offset=1M, buffered_io, read_only=no)");
  EXPECT_EQ(written("loop(offset=0,file=a.img)"), "loop(offset=0, file=a.img)");
  EXPECT_EQ(written("stripe(chunk=65536, a.img, linear(b.img, null:4k))"),
            "stripe(a.img, linear(b.img, null:4k), chunk=64k)");
  EXPECT_EQ(written("fault(a.img, every=65536, message=\"\", log=/tmp/x:y)"),
            "fault(a.img, every=65536, message=\"\", log=/tmp/x:y)");
}

TEST(Spec, WritesJson) {
  EXPECT_EQ(to_json(parsed("stripe(a.img, loop(b.img, read_only, buffered_io=no), chunk=64k)"),
                    kVocabulary),
            R"({"target":"stripe","chunk":"64k","children":[{"target":"loop","file":"a.img"},)"
            R"({"target":"loop","file":"b.img","read_only":true,"buffered_io":false}]})");
  EXPECT_EQ(
      to_json(parsed("fault(\"\xFF\", every=65536)"), kVocabulary),
      R"({"target":"fault","every":65536,"children":[{"target":"loop","file":{"hex":"ff"}}]})");
}

TEST(Spec, WritesEvenWhatTheVocabularyLacks) {
  Spec spec{.target = "zebra", .children = {hole()}};
  spec.set("stripes", uint64_t{65536});
  spec.set("name", "\xFF");
  EXPECT_EQ(to_text(spec, kVocabulary), "zebra(hole(), stripes=65536, name=\xFF)");
  EXPECT_EQ(to_json(spec, kVocabulary), R"({"target":"zebra","stripes":65536,"name":{"hex":"ff"},)"
                                        R"("children":[{"target":"hole"}]})");
}

TEST(Spec, MakesPathsAbsolute) {
  Spec spec = parsed("fault(linear(a.img, /b.img, ../c.img), log=log, message=log)");
  ASSERT_TRUE(make_paths_absolute(spec, kVocabulary, "/home/me"));
  EXPECT_EQ(spec, parsed("fault(linear(/home/me/a.img, /b.img, /home/me/../c.img),"
                         " log=/home/me/log, message=log)"));
  Spec top = parsed("a.img");
  ASSERT_TRUE(make_paths_absolute(top, kVocabulary, "/"));
  EXPECT_EQ(top, parsed("/a.img"));
  EXPECT_EQ(make_paths_absolute(top, kVocabulary, "here").error().error, EINVAL);
}

}  // namespace
}  // namespace sluice::test
