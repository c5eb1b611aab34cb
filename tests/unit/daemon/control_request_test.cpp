// The form of requests and replies on a control socket; other texts are refused.
#include "daemon/control_request.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(ControlRequest, NamesItsCommandAndKeepsTheRest) {
  const auto request = parse_control_request(R"({"command": "resize", "size": 4096})");
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_EQ(request->command, "resize");
  EXPECT_EQ(request->body.at("size").get<int>(), 4096);
}

TEST(ControlRequest, AnythingElseIsRefusedInOneSentence) {
  const std::string deep(kMaxControlRequestBytes, '[');
  for (const std::string_view line :
       {"", "stat", "[]", "{}", "\"stat\"", R"({"command": 1})", R"({"command": null})",
        R"({"command": "stat")", "\x80\xff", R"({"command": "\ud800"})", deep.c_str()}) {
    const auto request = parse_control_request(line);
    ASSERT_FALSE(request) << line;
    EXPECT_EQ(request.error().error, EINVAL);
    EXPECT_LT(request.error().text.size(), 400U);
  }
}

TEST(ControlReply, IsReadBack) {
  const std::string line = control_reply_line({{"mode", "auto"}});
  ASSERT_TRUE(line.ends_with("}\n"));
  const auto body = parse_control_reply(line);
  ASSERT_TRUE(body) << body.error().text;
  EXPECT_EQ(body->at("mode").get<std::string>(), "auto");
  EXPECT_TRUE(body->contains("version"));
}

TEST(ControlReply, AnErrorIsReadBackAsError) {
  const auto body = parse_control_reply(control_reply_line(Error{ENOSPC, "no room: make some"}));
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().error, ENOSPC);
  EXPECT_EQ(body.error().text, "no room: make some");
}

TEST(ControlReply, BytesThatAreNotUtf8AreReplaced) {
  const auto body = parse_control_reply(control_reply_line({{"file", "a\xff"}}));
  ASSERT_TRUE(body) << body.error().text;
  EXPECT_EQ(body->at("file").get<std::string>(), "a\xEF\xBF\xBD");
}

TEST(ControlReply, WhatIsNoneIsSaidToBeNone) {
  for (const char* const line : {"", "HTTP/1.1 400 Bad Request", "{}", R"({"ok": 1})",
                                 R"({"ok": false})", R"({"ok": false, "errno": "x"})"}) {
    const auto body = parse_control_reply(line);
    ASSERT_FALSE(body) << line;
    EXPECT_EQ(body.error().error, EPROTO);
  }
}

}  // namespace
}  // namespace sluice
