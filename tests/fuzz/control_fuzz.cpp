// Parses any bytes as a request on a control socket, and as a reply: they are accepted, or refused
// with one short printable sentence.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "daemon/control_commands.hpp"
#include "daemon/control_request.hpp"
#include "spec/shown.hpp"

namespace {

void require(bool holds, const char* what, const std::string& detail) {
  if (holds) return;
  std::fprintf(stderr, "control_fuzz: %s: %s\n", what, detail.c_str());
  std::abort();
}

void check_sentence(const sluice::Error& error) {
  require(error.error != 0 || !error.text.empty(), "no reason is given", error.text);
  require(sluice::is_utf8(error.text) && error.text.find_first_of("\n\x1b") == std::string::npos,
          "a sentence is not printable", error.text);
}

const sluice::ControlCommands& commands() {
  static const sluice::ControlCommands table = [] {
    sluice::ControlCommands commands;
    commands.add("stat", [](const sluice::JsonValue& request) -> sluice::Result<sluice::JsonValue> {
      return sluice::JsonValue{{"echo", request.at("echo")}};
    });
    return commands;
  }();
  return table;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto request = sluice::parse_control_request(line);
  if (!request) {
    check_sentence(request.error());
    require(request.error().text.size() < 2000, "a sentence is long", request.error().text);
  }
  sluice::Result<sluice::ControlReply> reply = sluice::fail(EPROTO, "no answer");
  commands().run(line, {}, sluice::ControlAnswer([&](sluice::Result<sluice::ControlReply> given) {
                   reply = std::move(given);
                 }));
  const std::string answer = reply ? sluice::control_reply_line(std::move(reply->body))
                                   : sluice::control_reply_line(reply.error());
  require(answer.find('\n') == answer.size() - 1, "a reply is not one line", answer);
  const auto read = sluice::parse_control_reply(answer);
  require(read.has_value() || read.error().error != EPROTO, "a reply is not understood", answer);
  const auto foreign = sluice::parse_control_reply(line);
  if (!foreign) check_sentence(foreign.error());
  return 0;
}
