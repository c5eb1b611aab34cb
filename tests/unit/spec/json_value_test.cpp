// JsonValue is written and read back; accessors throw if the JSON has another form.
#include "spec/json_value.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice {
namespace {

JsonValue read(std::string_view text) {
  const auto tree = parse_json_tree(text, 8);
  EXPECT_TRUE(tree) << text;
  return tree.value_or(JsonValue());
}

TEST(JsonValue, IsWrittenInTheOrderInWhichItWasMade) {
  JsonValue json = {{"b", 1}, {"a", {{"inner", true}}}, {"list", std::vector<int>{3, 2}}};
  json.set("none", JsonValue());
  json.set("b", "text");
  EXPECT_EQ(to_text(json), R"({"b":"text","a":{"inner":true},"list":[3,2],"none":null})");
  EXPECT_EQ(to_indented_text(JsonValue{{"a", JsonValue::array({1, "x"})}}, 2),
            "{\n  \"a\": [\n    1,\n    \"x\"\n  ]\n}");
  EXPECT_EQ(to_text(JsonValue::object()) + to_indented_text(JsonValue::array(), 2), "{}[]");
}

TEST(JsonValue, NumbersKeepTheirValue) {
  EXPECT_EQ(to_text(UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(to_text(INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(to_text(0.5) + " " + to_text(-2.0), "0.5 -2.0");
  EXPECT_EQ(to_text(std::nan("")), "null");
  EXPECT_EQ(read("18446744073709551615").get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(read("-9223372036854775808").get<int64_t>(), INT64_MIN);
  EXPECT_EQ(read("-7").get<int>(), -7);
  EXPECT_EQ(read("7").get<int8_t>(), 7);
  EXPECT_EQ(read("1e3").get<double>(), 1000.0);
}

TEST(JsonValue, AnotherKindOrRangeIsAMismatch) {
  EXPECT_THROW(read("256").get<uint8_t>(), JsonMismatch);
  EXPECT_THROW(read("-1").get<uint64_t>(), JsonMismatch);
  EXPECT_THROW(read("-129").get<int8_t>(), JsonMismatch);
  EXPECT_THROW(read("9223372036854775808").get<int64_t>(), JsonMismatch);
  EXPECT_THROW(read("1.5").get<int>(), JsonMismatch);
  EXPECT_THROW(read("1").get<bool>(), JsonMismatch);
  EXPECT_THROW(read("1").get<std::string>(), JsonMismatch);
  EXPECT_THROW(read("\"1\"").get<int>(), JsonMismatch);
  EXPECT_THROW(read("[1, \"2\"]").get<std::vector<int>>(), JsonMismatch);
  EXPECT_THROW(read("{}").get<std::vector<int>>(), JsonMismatch);
  EXPECT_THROW(read("{}").at("a"), JsonMismatch);
  EXPECT_THROW(read("[1]").at(1), JsonMismatch);
  EXPECT_THROW((void)read("{\"a\": null}").value("a", 1), JsonMismatch);
}

TEST(JsonValue, MembersAreFoundByName) {
  const JsonValue json = read(R"({"a": 1, "b": [1, 2], "a": 3})");
  EXPECT_EQ(json.at("a").get<int>(), 3) << "the last of doubles";
  EXPECT_EQ(json.value("a", 0), 3);
  EXPECT_EQ(json.value("c", 4), 4);
  EXPECT_EQ(json.at("b").get<std::vector<uint8_t>>(), (std::vector<uint8_t>{1, 2}));
  EXPECT_FALSE(json.contains("c"));
  EXPECT_FALSE(read("[1]").contains("a"));
  JsonValue changed = json;
  changed.erase("a");
  changed.update({{"b", false}, {"d", 1}});
  EXPECT_EQ(to_text(changed), R"({"b":false,"d":1})");
}

TEST(JsonValue, WhatIsNoJsonSaysWhere) {
  const auto fault = [](std::string_view text) { return parse_json_tree(text, 2).error(); };
  EXPECT_EQ(fault("{\"a\": }").kind, JsonFault::Kind::syntax);
  EXPECT_EQ(fault("{\"a\": }").byte, 7U);
  EXPECT_EQ(fault("").kind, JsonFault::Kind::syntax);
  EXPECT_EQ(fault("{} {}").kind, JsonFault::Kind::syntax);
  EXPECT_EQ(fault("\"\xff\"").kind, JsonFault::Kind::syntax);
  EXPECT_EQ(fault(std::string_view("{}\0", 3)).byte, 3U);
  EXPECT_EQ(fault("1e999").kind, JsonFault::Kind::number);
  EXPECT_EQ(fault("[[[1]]]").kind, JsonFault::Kind::nesting);
  EXPECT_TRUE(parse_json_tree("[[1]]", 2));
}

TEST(JsonValue, BytesThatAreNoUtf8AreReplacedOrKeptAsHex) {
  EXPECT_EQ(to_text("a\xff"), "\"a\xEF\xBF\xBD\"");
  for (const std::string bytes : {"plain", "a\xff", ""}) {
    EXPECT_EQ(bytes_of(read(to_text(bytes_json(bytes)))), bytes);
  }
  EXPECT_EQ(bytes_of(read("{\"hex\": \"0\"}")), std::nullopt);
  EXPECT_EQ(bytes_of(read("{\"hex\": \"00\", \"more\": 1}")), std::nullopt);
  EXPECT_EQ(bytes_of(read("7")), std::nullopt);
}

}  // namespace
}  // namespace sluice
