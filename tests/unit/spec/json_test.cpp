// The JSON notation: the same specs, the same checks, JSON pointers as positions.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "spec/spec.hpp"
#include "unit/spec/spec_vocabulary.hpp"

namespace sluice::test {
namespace {

// The JSON means the same as the text.
void expect_same(std::string_view json, std::string_view text) {
  const Result<Spec> spec = parse_spec(json, kVocabulary);
  ASSERT_TRUE(spec.has_value()) << json << ": " << spec.error().text;
  const Result<Spec> wanted = parse_spec(text, kVocabulary);
  ASSERT_TRUE(wanted.has_value()) << text << ": " << wanted.error().text;
  EXPECT_EQ(*spec, *wanted) << json << " was read as " << to_text(*spec, kVocabulary);
}

void expect_error(std::string_view json, std::string_view sentence) {
  const Result<Spec> spec = parse_spec(json, kVocabulary);
  ASSERT_FALSE(spec.has_value()) << json << " was read as " << to_text(*spec, kVocabulary);
  EXPECT_EQ(spec.error().text, sentence) << json;
  EXPECT_EQ(spec.error().error, EINVAL) << json;
}

void expect_no_json(std::string_view json, std::string_view part) {
  const Result<Spec> spec = parse_spec(json, kVocabulary);
  ASSERT_FALSE(spec.has_value()) << json << " was read as " << to_text(*spec, kVocabulary);
  EXPECT_TRUE(spec.error().text.starts_with("this is not JSON: ")) << spec.error().text;
  EXPECT_NE(spec.error().text.find(part), std::string::npos) << spec.error().text;
  EXPECT_EQ(spec.error().text.find("json.exception"), std::string::npos) << spec.error().text;
  EXPECT_LT(spec.error().text.size(), 1000U);
}

TEST(ParseJson, ReadsSpecs) {
  expect_same(R"( {"target":"null","size":"250G"})", "null:250G");
  expect_same(R"({"target":"null","size":65536})", "null:64k");
  expect_same(R"({"target":"hole"})", "hole()");
  expect_same(R"({"target":"hole","children":[]})", "hole()");
  expect_same(R"({"target":"loop","file":"a.img","buffered_io":true,"read_only":false})",
              "loop(a.img, buffered_io, read_only=no)");
  expect_same(R"({"children":["a.img",{"target":"linear","children":["null:4k"]}],
                  "chunk":"64k","target":"stripe"})",
              "stripe(a.img, linear(null:4k), chunk=64k)");
  expect_same(R"j({"target":"fault","every":18446744073709551615,"children":["hole( )"]})j",
              "fault(hole(), every=18446744073709551615)");
  expect_same(R"({"target":"remote","uri":"gr\u00fc\u00df \u0000"})",
              std::string_view("remote:\"gr\xC3\xBC\xC3\x9F \0\"", 17));
  expect_same(R"({"target":"loop","file":{"hex":"2fff20"}})", "\"/\xFF \"");
}

TEST(ParseJson, SaysWhatIsUnknown) {
  expect_error(R"({"target":"strip"})",
               "unknown target 'strip' at /target: did you mean 'stripe'?"
               " (sluice targets lists all)");
  expect_error(R"({"target":"linear","children":["a",{"target":"concat"}]})",
               "unknown target 'concat' at /children/1/target: sluice targets lists all");
  expect_error(R"({"target":"stripe","children":["a"],"chnk":4096})",
               "option 'chnk' at /chnk is not one of stripe's (chunk): did you mean 'chunk'?");
  expect_error(R"({"target":"linear","childen":["a"]})",
               "option 'childen' at /childen is refused: linear takes no options: did you mean"
               " 'children'?");
  expect_error(R"({"target":"hole","a/b~":1})",
               "option 'a/b~' at /a~1b~0 is refused: hole takes no options");
  expect_error(R"({"size":1})",
               R"(the object at the top has no key "target": add it, such as {"target":"stripe",)"
               " ...}");
}

TEST(ParseJson, SaysWhereTextInItIsWrong) {
  expect_error(R"j({"target":"linear","children":["a","stripe(b, chnk=4k)"]})j",
               "option 'chnk' at column 11 of /children/1 is not one of stripe's (chunk): did you"
               " mean 'chunk'?");
  expect_error(R"({"target":"linear","children":[""]})",
               "the spec ends too early at column 1 of /children/0: a file name, target or option"
               " should stand there");
  expect_error(R"({"target":"linear","children":["{}"]})",
               "unexpected '{' at column 1 of /children/0: JSON cannot stand inside a spec in text;"
               " write a file name that begins with it in double quotes");
}

TEST(ParseJson, SaysWhichValueIsWrong) {
  expect_error(R"({"target":"null","size":"10X"})",
               "'10X' at /size is not a size: write a number with an optional unit k, M, G, T or P,"
               " such as 64k or 1.5G");
  const std::string no_size =
      ": write a whole number of bytes, or a size in double quotes such as \"64k\"";
  for (const char* number : {"-1", "1.5", "1e3", "18446744073709551616"}) {
    expect_error(fmt::format(R"({{"target":"null","size":{}}})", number),
                 "the value of option 'size' at /size is a number that is negative, too large or"
                 " not whole" +
                     no_size);
  }
  expect_error(R"({"target":"null","size":null})",
               "the value of option 'size' at /size is null" + no_size);
  expect_error(R"({"target":"null","size":9223372036854775808})",
               "option 'size' at /size must be 9223372036854775807 or less, found 8192P");
  expect_error(R"({"target":"loop","file":"a","read_only":"yes"})",
               "the value of option 'read_only' at /read_only is a text: write true or false");
  const std::string no_text =
      R"(: write a text in double quotes, or {"hex":"..."} for bytes that are not UTF-8)";
  expect_error(R"({"target":"loop","file":1})",
               "the value of option 'file' at /file is a number" + no_text);
  for (const char* hex : {R"({})", R"({"hex":1})", R"({"hex":"0"})", R"({"hex":"0G"})",
                          R"({"hex":"00","hex":"00"})", R"({"hey":"00"})"}) {
    expect_error(fmt::format(R"({{"target":"loop","file":{}}})", hex),
                 "the value of option 'file' at /file is an object" + no_text);
  }
  expect_error(R"({"target":"loop","file":""})",
               "the file name for 'file' at /file is empty: give one");
  expect_error(R"({"target":"loop","file":"a\u0000"})",
               "the file name 'a\\x00' at /file holds a NUL byte, which no file name can");
  expect_error(R"({"target":1})", "a target's name should stand at /target, found a number");
  expect_error(R"({"target":"linear","children":{}})",
               "an array of targets should stand at /children, found an object");
  expect_error(R"({"target":"linear","children":[[]]})",
               "a target should stand at /children/0, found an array: write an object or a spec"
               " text in double quotes");
}

TEST(ParseJson, SaysWhatIsMissingOrTooMuch) {
  expect_error(R"({"target":"linear","children":[{"target":"null"}]})",
               "target 'null' at /children/0 lacks its option 'size' (size of the device): add it");
  expect_error(R"({"target":"verify","children":["a"]})",
               "target 'verify' at the top takes exactly 2 children, found 1");
  expect_error(R"({"target":"null","size":1,"size":1})",
               "the key at /size occurs twice: give it"
               " once");
  expect_error(R"({"target":"hole","target":"hole"})",
               "the key at /target occurs twice: give it once");
  expect_error(R"({"target":"hole","children":[],"children":[]})",
               "the key at /children occurs twice: give it once");
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  expect_no_json("{", "unexpected end of input");
  expect_no_json("{a}", "line 1, column 2");
  expect_no_json(R"({"target":"hole"} x)", "invalid literal");
  expect_no_json(R"({"target":"hole",})", "expected string literal");
  expect_no_json(R"({"target":"hole"}{})", "expected end of input");
  expect_no_json(R"({"target":'hole'})", "invalid literal");
  expect_no_json(R"({"target":"hole"/**/})", "invalid literal");
  expect_no_json("{\"target\":\"\xFF\"}", "ill-formed UTF-8");
  expect_no_json("{\"target\":\"\xED\xA0\x80\"}", "ill-formed UTF-8");
  expect_no_json(R"({"target":"\ud800"})", "surrogate");
  expect_no_json(R"({"size":1e999})", "number overflow");
  expect_no_json(std::string_view("{\0}", 3), "NUL");
  expect_no_json(std::string_view("{\"target\":\"hole\"}\0", 18), "NUL");
  expect_no_json("{\"" + std::string(1 << 19, '\x02'), "control character");
  expect_no_json("{\"" + std::string(1 << 19, 'a'), "missing closing quote");
}

TEST(ParseJson, LimitsNesting) {
  const auto nested = [](size_t levels, std::string_view innermost) {
    std::string text;
    for (size_t level = 1; level < levels; ++level) text += R"({"target":"linear","children":[)";
    text += innermost;
    for (size_t level = 1; level < levels; ++level) text += "]}";
    return text;
  };
  const Result<Spec> deepest =
      parse_spec(nested(kSpecNestingMax, R"({"target":"loop","file":{"hex":"ff"}})"), kVocabulary);
  EXPECT_TRUE(deepest.has_value()) << deepest.error().text;
  const Result<Spec> deeper =
      parse_spec(nested(kSpecNestingMax + 1, R"({"target":"hole"})"), kVocabulary);
  ASSERT_FALSE(deeper.has_value());
  EXPECT_TRUE(deeper.error().text.ends_with("is nested too deeply: 32 levels are the limit"))
      << deeper.error().text;

  // Levels of the text in a JSON string count on.
  std::string text;
  for (size_t level = 1; level < kSpecNestingMax; ++level) text += "linear(";
  text += "a" + std::string(kSpecNestingMax - 1, ')');
  expect_error(R"({"target":"linear","children":[")" + text + "\"]}",
               "the target at column 218 of /children/0 is nested too deeply: 32 levels are the"
               " limit");

  std::string endless = R"({"target":)";
  while (endless.size() < kSpecBytesMax - 10) endless += "[";
  expect_error(endless,
               "the JSON is nested too deeply: 65 arrays and objects inside one another are the"
               " limit");
}

TEST(ParseJson, LimitsChildren) {
  const auto wide = [](size_t children) {
    std::string text = R"({"target":"linear","children":["a")";
    for (size_t child = 1; child < children; ++child) text += ",\"a\"";
    return text + "]}";
  };
  EXPECT_TRUE(parse_spec(wide(kSpecChildrenMax), kVocabulary).has_value());
  expect_error(wide(kSpecChildrenMax + 1),
               "child 4097 of target 'linear' at /children/4096 is one too many: 4096 are the"
               " limit");
}

}  // namespace
}  // namespace sluice::test
