// The text notation: the meaning of each form, and the sentence for each mistake.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "spec/spec.hpp"
#include "unit/spec/spec_vocabulary.hpp"

namespace sluice::test {
namespace {

Spec leaf(std::string target, std::string option, OptionValue value) {
  return {.target = std::move(target), .options = {{std::move(option), std::move(value)}}};
}

Spec file(std::string path) { return leaf("loop", "file", std::move(path)); }

void expect_spec(std::string_view text, const Spec& wanted) {
  const Result<Spec> spec = parse_spec(text, kVocabulary);
  ASSERT_TRUE(spec.has_value()) << text << ": " << spec.error().text;
  EXPECT_EQ(*spec, wanted) << text << " was read as " << to_text(*spec, kVocabulary);
}

void expect_refused(std::string_view text, std::string_view sentence) {
  const Result<Spec> spec = parse_spec(text, kVocabulary);
  ASSERT_FALSE(spec.has_value()) << text << " was read as " << to_text(*spec, kVocabulary);
  EXPECT_EQ(spec.error().text, sentence) << text;
  EXPECT_EQ(spec.error().error, EINVAL) << text;
}

TEST(ParseText, ReadsPaths) {
  expect_spec("a.img", file("a.img"));
  expect_spec("disk", file("disk"));
  expect_spec(" /dev/sda1\n", file("/dev/sda1"));
  expect_spec("/dev/disk/by-path/pci-0000:00:1f.2", file("/dev/disk/by-path/pci-0000:00:1f.2"));
  expect_spec("./null:4k", file("./null:4k"));
  expect_spec("back\\slash", file("back\\slash"));
  expect_spec("\xFF\xFE", file("\xFF\xFE"));
}

TEST(ParseText, ReadsQuotedPaths) {
  expect_spec(R"("my disk, (1)=2.img")", file("my disk, (1)=2.img"));
  expect_spec(R"("a\"b\\c")", file("a\"b\\c"));
  expect_spec(R"("null:4k")", file("null:4k"));
  expect_spec(R"("null")", file("null"));
  expect_spec(R"("{}")", file("{}"));
  expect_spec("\" \n\"", file(" \n"));
}

TEST(ParseText, ReadsPrefixes) {
  expect_spec("null:250G", leaf("null", "size", uint64_t{250} << 30));
  expect_spec("mem:\"1.5k\"", leaf("mem", "size", uint64_t{1536}));
  expect_spec("file:a.img", file("a.img"));
  expect_spec("file:foo:bar", file("foo:bar"));
  expect_spec("file:null", file("null"));
  expect_spec("file:\"a b\"", file("a b"));
  expect_spec("remote://host/x", leaf("remote", "uri", "//host/x"));
  expect_spec("remote:\"\"", leaf("remote", "uri", ""));
}

// A URI ends at a blank, a comma or a closing parenthesis only.
TEST(ParseText, ReadsBareUris) {
  const auto remote = [](std::string uri) { return leaf("remote", "uri", std::move(uri)); };
  expect_spec("net://host:1/x", remote("net://host:1/x"));
  expect_spec(" net+unix:///x?socket=/a%20b&y=(1 ", remote("net+unix:///x?socket=/a%20b&y=(1"));
  expect_spec("\"net://host/a, b\"", remote("net://host/a, b"));
  expect_spec("linear(net://me@host/?a=b,c.img)",
              {.target = "linear", .children = {remote("net://me@host/?a=b"), file("c.img")}});
  expect_spec("{\"target\":\"linear\",\"children\":[\"net://h/?a=b\"]}",
              {.target = "linear", .children = {remote("net://h/?a=b")}});
  Spec two = remote("net://a/?b=c net://d/");
  two.options.emplace_back("connections", uint64_t{2});
  expect_spec("remote(net://a/?b=c, connections=2, net://d/)", two);
  expect_spec("file:\"net://host\"", file("net://host"));
  expect_spec("./net://host", file("./net://host"));
  expect_refused("web://host/x",
                 "unknown prefix 'web' at column 1: write 'file:web://host/x' for a file of that "
                 "name");
  expect_refused("net://host/x(y) z",
                 "unexpected ')' at column 15: the spec should end before it; write a name that "
                 "holds white space or one of , ( ) = in double quotes");
  expect_refused("remote(net://a/ net://b/)",
                 "unexpected 'n' at column 17: put a comma between arguments, and text that holds "
                 "white space or one of , ( ) = in double quotes");
}

TEST(ParseText, ReadsLeavesWithOptions) {
  Spec loop = file("a.img");
  loop.set("offset", uint64_t{1} << 20);
  loop.set("buffered_io", true);
  expect_spec("loop(a.img, offset=1M, buffered_io)", loop);
  expect_spec("loop (\n  \"a.img\" , offset = 1024k, buffered_io=on,\n)", loop);
  expect_spec("loop(file=a.img,offset=2048s,buffered_io=1)", loop);
  expect_spec("null(250G)", leaf("null", "size", uint64_t{250} << 30));
  expect_spec("loop(null:4k)", file("null:4k"));
  expect_spec("loop(\"offset\")", file("offset"));
  expect_spec("hole()", {.target = "hole"});
  expect_spec("hole( )", {.target = "hole"});
}

TEST(ParseText, KeepsTheOrderOfOptions) {
  Spec loop{.target = "loop"};
  loop.set("read_only", false);
  loop.set("size", uint64_t{0});
  loop.set("file", "a=b");
  expect_spec("loop(read_only=no, size=0, \"a=b\")", loop);
}

TEST(ParseText, ReadsTrees) {
  Spec linear{.target = "linear", .children = {file("b.img"), file("c.img")}};
  Spec stripe{.target = "stripe", .children = {file("a.img"), linear}};
  stripe.set("chunk", uint64_t{65536});
  expect_spec("stripe(a.img, linear(b.img, c.img), chunk=64k)", stripe);
  expect_spec("stripe(chunk=64k,a.img,linear(b.img,c.img,),)", stripe);

  Spec fault{.target = "fault", .children = {file("sync")}};
  fault.set("sync", true);
  fault.set("message", "it's (all) \"gone\"");
  fault.set("every", uint64_t{18446744073709551615U});
  expect_spec(R"(fault(sync, "sync", message="it's (all) \"gone\"", every=18446744073709551615))",
              fault);
}

TEST(ParseText, SaysWhatIsUnknown) {
  expect_refused("strip(a.img)",
                 "unknown target 'strip' at column 1: did you mean 'stripe'?"
                 " (sluice targets lists all)");
  expect_refused("stripe(a.img, concat(b.img))",
                 "unknown target 'concat' at column 15: sluice targets lists all");
  expect_refused(
      "stripe(a.img, b.img, chnk=64k)",
      "option 'chnk' at column 22 is not one of stripe's (chunk): did you mean 'chunk'?");
  expect_refused("linear(a.img, chunk=4k)",
                 "option 'chunk' at column 15 is refused: linear takes no options");
  expect_refused("loop(a.img, bufered_io)",
                 "option 'bufered_io' at column 13 is not one of loop's (file, offset, size,"
                 " buffered_io, read_only): did you mean 'buffered_io'?");
  expect_refused(
      "nul:4k",
      "unknown prefix 'nul' at column 1: did you mean 'null'? If not, write 'file:nul:4k'"
      " for a file of that name");
  expect_refused("foo:bar",
                 "unknown prefix 'foo' at column 1: write 'file:foo:bar' for a file of that name");
  expect_refused(
      "foo:\"a b\"",
      "unknown prefix 'foo' at column 1: write 'file:\"foo:a b\"' for a file of that name");
  expect_refused(":x", "unknown prefix '' at column 1: write 'file::x' for a file of that name");
  expect_refused(
      "loop:x",
      "unknown prefix 'loop' at column 1: write file:... or loop(...), or 'file:loop:x' for"
      " a file of that name");
  expect_refused("stripe:4",
                 "unknown prefix 'stripe' at column 1: write stripe(...), or 'file:stripe:4' for a"
                 " file of that name");
  expect_refused(
      "linear(null)",
      "'null' at column 8 is the name of a target: write null(...), or \"null\" in double"
      " quotes for a file of that name");
}

TEST(ParseText, SaysWhichValueIsWrong) {
  expect_refused(
      "loop(a, offset=10X)",
      "'10X' at column 16 is not a size: write a number with an optional unit k, M, G, T or"
      " P, such as 64k or 1.5G");
  expect_refused(
      "null:-1",
      "'-1' at column 6 is not a size: write a number with an optional unit k, M, G, T or"
      " P, such as 64k or 1.5G");
  expect_refused("stripe(a, chunk=2k)", "option 'chunk' at column 11 must be 4k or more, found 2k");
  expect_refused("stripe(a, chunk=2G)", "option 'chunk' at column 11 must be 1G or less, found 2G");
  expect_refused("remote(x, connections=17)",
                 "option 'connections' at column 11 must be 16 or less, found 17");
  expect_refused("fault(a, every=1k)",
                 "'1k' at column 16 is not a whole number, which 'every' takes: write digits only");
  expect_refused("fault(a, every=-1)",
                 "'-1' at column 16 is not a whole number, which 'every' takes: write digits only");
  expect_refused(
      "fault(a, sync=maybe)",
      "'maybe' at column 15 is neither yes nor no, which 'sync' takes: write yes, true, on"
      " or 1, or no, false, off or 0");
  expect_refused("loop(a, offset=)",
                 "option 'offset' at column 9 has no value: write offset=..., or \"\" for an empty"
                 " one");
  expect_refused(
      "loop(a, offset)",
      "option 'offset' at column 9 has no value: write offset=..., or \"offset\" in double"
      " quotes if that is a file's name");
  expect_refused("file:", "the file name for 'file' at column 6 is empty: give one");
  expect_refused("\"\"", "the file name for 'file' at column 1 is empty: give one");
  expect_refused(std::string_view("a\0b", 3),
                 "the file name 'a\\x00b' at column 1 holds a NUL byte, which no file name can");
  const Result<Spec> large = parse_spec("fault(a, every=18446744073709551616)", kVocabulary);
  ASSERT_FALSE(large.has_value());
  EXPECT_EQ(large.error().error, ERANGE);
  EXPECT_EQ(large.error().text,
            "'18446744073709551616' at column 16 is too large a number for 'every'");
}

TEST(ParseText, SaysWhatIsMissingOrTooMuch) {
  expect_refused("null()",
                 "target 'null' at column 1 lacks its option 'size' (size of the device): add it");
  expect_refused(
      "linear(loop(offset=1M))",
      "target 'loop' at column 8 lacks its option 'file' (file or block device): add it");
  expect_refused("loop(a, size=1, size=2)",
                 "option 'size' of loop is given again at column 17: give it once");
  expect_refused("loop(a, read_only, read_only=no)",
                 "option 'read_only' of loop is given again at column 20: give it once");
  expect_refused("loop(a, file=b)",
                 "option 'file' of loop is given again at column 9: give it once");
  expect_refused("verify(a)", "target 'verify' at column 1 takes exactly 2 children, found 1");
  expect_refused("fault(a, b)", "target 'fault' at column 1 takes exactly 1 child, found 2");
  expect_refused("linear()", "target 'linear' at column 1 takes at least 1 child, found 0");
  expect_refused("hole(a)", "target 'hole' takes no children, found 'a' at column 6");
  expect_refused("loop(null(4k))", "target 'loop' takes no children, found 'null' at column 6");
}

TEST(ParseText, SaysWhereTheSignsAreWrong) {
  const std::string empty =
      "the spec is empty: write a file name or a target, such as stripe(a.img, b.img)";
  expect_refused("", empty);
  expect_refused(" \t\n", empty);
  expect_refused("linear(a, ", "the '(' of linear at column 7 is not closed: add a ')'");
  expect_refused("linear(a", "the '(' of linear at column 7 is not closed: add a ')'");
  expect_refused("linear(,a)",
                 "unexpected ',' at column 8: a file name, target or option should stand there");
  expect_refused("loop(a, offset= =)",
                 "unexpected '=' at column 17: a file name, target or option should stand there");
  expect_refused("linear(a b)",
                 "unexpected 'b' at column 10: put a comma between arguments, and text that holds"
                 " white space or one of , ( ) = in double quotes");
  const std::string after =
      ": the spec should end before it; write a name that holds white space or one of , ( ) = in"
      " double quotes";
  expect_refused("a.img, b.img", "unexpected ',' at column 6" + after);
  expect_refused("my disk.img", "unexpected 'd' at column 4" + after);
  expect_refused("a=b", "unexpected '=' at column 2" + after);
  expect_refused("linear(a))", "unexpected ')' at column 10" + after);
  expect_refused("/data/disk(1).img",
                 "unexpected '(' at column 11: write a name that holds it in double quotes");
  expect_refused("\"abc", "the '\"' at column 1 is not closed: add a '\"'");
  expect_refused("\"abc\\",
                 "the '\\' at column 5 stands before neither '\"' nor '\\': write \\\\ for"
                 " one backslash");
  expect_refused("\"a\\n\"",
                 "the '\\' at column 3 stands before neither '\"' nor '\\': write \\\\ for"
                 " one backslash");
  expect_refused(
      "a\"b\"",
      "unexpected '\"' at column 2: put the quotes around all of the text, and write \\\""
      " for one in it");
  expect_refused("loop(file:\"a\")",
                 "the file of loop at column 6 is quoted in part: put the quotes around all of it,"
                 " without a prefix");
  expect_refused(
      "fault(a, message=x:\"y\")",
      "the value of option 'message' at column 18 is quoted in part: put the quotes around"
      " all of it");
  expect_refused("linear({\"target\":\"hole\"})",
                 "unexpected '{' at column 8: JSON cannot stand inside a spec in text; write a file"
                 " name that begins with it in double quotes");
}

TEST(ParseText, CountsColumnsInCharactersAndLines) {
  expect_refused("linear(gr\xC3\xBC\xC3\x9F\x65.img, concat(b))",
                 "unknown target 'concat' at column 19: sluice targets lists all");
  expect_refused("linear(\n  a,\n  concat(b))",
                 "unknown target 'concat' at line 3 column 3: sluice targets lists all");
}

TEST(ParseText, LimitsNesting) {
  const auto nested = [](size_t levels) {
    std::string text;
    for (size_t level = 1; level < levels; ++level) text += "linear(";
    return text + "a" + std::string(levels - 1, ')');
  };
  EXPECT_TRUE(parse_spec(nested(kSpecNestingMax), kVocabulary).has_value());
  expect_refused(nested(kSpecNestingMax + 1),
                 "the target at column 225 is nested too deeply: 32 levels are the limit");
  std::string endless;
  while (endless.size() < kSpecBytesMax - 10) endless += "linear(";
  expect_refused(endless, "the target at column 225 is nested too deeply: 32 levels are the limit");
}

TEST(ParseText, LimitsChildren) {
  const auto wide = [](size_t children) {
    std::string text = "linear(";
    for (size_t child = 0; child < children; ++child) text += "a,";
    return text + ")";
  };
  EXPECT_TRUE(parse_spec(wide(kSpecChildrenMax), kVocabulary).has_value());
  expect_refused(
      wide(kSpecChildrenMax + 1),
      "child 4097 of target 'linear' at column 8200 is one too many: 4096 are the limit");
}

TEST(ParseText, LimitsLength) {
  expect_refused(std::string(kSpecBytesMax + 1, 'a'),
                 "the spec is 1048577 bytes long: 1048576 are the limit");
  // {"target":"loop","file":"..."} has 27 bytes more.
  EXPECT_TRUE(parse_spec(std::string(kSpecBytesMax - 27, 'a'), kVocabulary).has_value());
  expect_refused(std::string(kSpecBytesMax - 26, 'a'),
                 "the spec takes 1048577 bytes as JSON: 1048576 are the limit");
}

TEST(ParseText, KeepsErrorsShortAndPrintable) {
  const Result<Spec> spec = parse_spec(std::string(100000, '\x01') + "(", kVocabulary);
  ASSERT_FALSE(spec.has_value());
  EXPECT_LT(spec.error().text.size(), 1000U);
  EXPECT_EQ(spec.error().text.find('\x01'), std::string::npos);
}

TEST(ParseText, NeedsATargetForBarePaths) {
  const std::array<TargetSyntax, 1> none = {{{.name = "hole"}}};
  const Result<Spec> spec = parse_spec("a.img", none);
  ASSERT_FALSE(spec.has_value());
  EXPECT_EQ(spec.error().text,
            "'a.img' at column 1 is no target, and there is none for a bare file name");
}

}  // namespace
}  // namespace sluice::test
