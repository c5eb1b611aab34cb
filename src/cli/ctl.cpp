// `sluice ctl`.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <vector>

#include "cli/command.hpp"
#include "cli/crypt/passphrases.hpp"
#include "cli/device_argument.hpp"
#include "cli/image/new_overlay.hpp"
#include "cli/image/served_image.hpp"
#include "cli/show.hpp"
#include "core/passing.hpp"
#include "daemon/ask.hpp"
#include "daemon/device_name.hpp"
#include "daemon/state.hpp"
#include "spec/shown.hpp"
#include "target/open_context.hpp"
#include "target/qcow2/chain_verbs.hpp"
#include "target/stack.hpp"
#include "target/verb.hpp"

namespace sluice::cli {
namespace {

// A verb is answered within 20 seconds, or the server says that it was not.
constexpr std::chrono::milliseconds kControlLimit{30'000};

Outcome<JsonValue> ask_for_nodes(uint32_t id);
Outcome<std::string> type_at(const JsonValue& nodes, const std::string& path, uint32_t id);
Outcome<std::vector<std::unique_ptr<Stack>>> open_children(const Spec& verb, bool is_image,
                                                           bool locks_later);
std::vector<int> files_of(const std::vector<std::unique_ptr<Stack>>& children);
std::string nodes_text(const JsonValue& nodes);
std::string answer_text(const JsonValue& answer);

void declare_ctl(CommandLine& line, std::span<const std::string>) {
  declare_device(line, "the device: its number, name or path");
  line.add({.name = "json", .help = "print the targets, or the answer, as JSON"});
  line.add_word("PATH");
  line.add_word("VERB");
  line.add_word("ARGUMENT...");
}

Outcome<void> ctl(const CommandLine& line, const Streams& streams) {
  const auto device = read_device(line);
  if (!device) return std::unexpected(device.error());
  if (!device->id) return needs_device(line);
  const auto words = device->rest;
  if (words.size() == 1) return usage("'sluice ctl' needs a VERB after the PATH of a target");
  const auto nodes = ask_for_nodes(*device->id);
  if (!nodes) return std::unexpected(nodes.error());
  try {
    if (words.empty()) {
      streams.out << (line.has("json") ? written(Json(*nodes)) : nodes_text(*nodes));
      return {};
    }
    const auto type = type_at(*nodes, words[0], *device->id);
    if (!type) return std::unexpected(type.error());
    auto verb =
        read_verb(*type, words[1], words.subspan(2), std::filesystem::current_path().string());
    if (!verb) return usage(verb.error().text);
    NewOverlay overlay(*device->id);
    const bool makes_overlay = *type == "qcow2" && verb->target == qcow2::kExternalSnapshot;
    if (makes_overlay) {
      if (auto made = overlay.make(words[0], *verb); !made) return made;
    }
    const bool are_open = brings_open_files(*type, verb->target);
    if (*type == "qcow2" && verb->target == qcow2::kCommit) {
      if (auto added = add_backing_file(*device->id, words[0], *verb); !added) return added;
    }
    const auto children = open_children(*verb, makes_overlay || are_open, are_open);
    if (!children) return std::unexpected(children.error());
    const auto reply =
        ask_passing(*device->id,
                    {{"command", "control"}, {"path", words[0]}, {"verb", verb_json(*verb, *type)}},
                    files_of(*children), kControlLimit);
    if (!reply) return failed(reply.error());
    overlay.keep();
    const JsonValue& answer = reply->at("answer");
    streams.out << (line.has("json") ? written(Json(answer)) : answer_text(answer));
    return {};
  } catch (const JsonMismatch&) {
    return failed("the server's reply is not understood: it is of another version");
  }
}

// Here and not in the server, which may see other files under these paths.
// The locks last as long as anybody has the files: to release them here would release those of a
// server that has taken a child, and whose answer does not come.
Outcome<std::vector<std::unique_ptr<Stack>>> open_children(const Spec& verb, bool is_image,
                                                           bool locks_later) {
  std::vector<std::unique_ptr<Stack>> children;
  size_t files = 0;
  OpenContext context(/*read_only=*/false);
  context.set_opens_image(is_image);
  context.set_locks_later(locks_later);
  for (const Spec& child : verb.children) {
    if (auto read = read_passphrases(child); !read) return std::unexpected(read.error());
    auto opened = Stack::open(child, context);
    if (!opened) return failed(opened.error());
    (*opened)->own_files(false);
    files += (*opened)->files().size();
    children.push_back(std::move(*opened));
  }
  if (files > kPassedAtOnce) {
    return usage(
        fmt::format("a verb brings at most {} files, and {} were given", kPassedAtOnce, files));
  }
  return children;
}

std::vector<int> files_of(const std::vector<std::unique_ptr<Stack>>& children) {
  std::vector<int> files;
  for (const auto& child : children) std::ranges::copy(child->files(), std::back_inserter(files));
  return files;
}

Outcome<JsonValue> ask_for_nodes(uint32_t id) {
  auto reply = ask(id, {{"command", "nodes"}});
  if (!reply) return failed(reply.error());
  const JsonValue* const nodes = reply->find("nodes");
  if (nodes == nullptr || !nodes->is_array()) {
    return failed("the server's reply is not understood: it is of another version");
  }
  return *nodes;
}

Outcome<std::string> type_at(const JsonValue& nodes, const std::string& path, uint32_t id) {
  for (const JsonValue& node : nodes.items) {
    if (node.at("path").get<std::string>() == path) return node.at("target").get<std::string>();
  }
  return usage(fmt::format("there is no target {} in device {}: 'sluice ctl {}' lists the paths",
                           shown(path), id, id));
}

std::string nodes_text(const JsonValue& nodes) {
  std::string text;
  for (const JsonValue& node : nodes.items) {
    const auto verbs = node.at("verbs").get<std::vector<std::string>>();
    text += fmt::format("{:<8}  {:<24}  {}", node.at("path").get<std::string>(),
                        node.at("name").get<std::string>(), fmt::join(verbs, ", "));
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

std::string answer_text(const JsonValue& answer) {
  std::string text;
  for (const JsonValue& member : answer.items) {
    const std::string value = member.is_text() ? member.text : to_text(member);
    text += fmt::format("{}: {}\n", member.name, printable(value, std::string::npos));
  }
  return text;
}

}  // namespace

constinit const Command kCtlCommand = {
    .name = "ctl",
    .synopsis = "[-n] DEVICE [--json]\n[-n] DEVICE PATH VERB [ARGUMENT...] [--json]",
    .summary = "Show the targets of a device, or carry out a verb on a target.",
    .declare = declare_ctl,
    .run = ctl};

}  // namespace sluice::cli
