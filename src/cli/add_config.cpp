#include "cli/add_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "cli/add_options.hpp"
#include "spec/json_value.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"
#include "spec/spec.hpp"

namespace sluice::cli {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr size_t kNestingMax = 2 * kSpecNestingMax + 2;  // of the stack, in one object
constexpr std::string_view kSpec = "spec";
constexpr std::string_view kType = "type";

using Kind = JsonValue::Kind;
using Arguments = std::vector<std::string>;

Outcome<Arguments> read_members(const JsonValue& config);
Arguments type_of(const JsonValue& config);
Failure unknown_key(const CommandLine& line, const std::string& name);
Outcome<void> add_option(Arguments& arguments, const OptionInfo& option, const JsonValue& value);
Outcome<void> add_flag(Arguments& arguments, const OptionInfo& option, const JsonValue& value);
bool is_switch(const OptionInfo& option) { return option.value.empty() || option.value == "0|1"; }

bool is_among(std::string_view word, const auto& words) {
  return std::ranges::find(words, word) != std::ranges::end(words);
}

std::unexpected<Failure> wrong(const std::string& path, std::string_view what) {
  return failed(fmt::format("the configuration {} cannot be used: {}", path, what));
}

}  // namespace

Outcome<Arguments> read_config(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (errno != 0) return wrong(path, std::strerror(errno));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxBytes) return wrong(path, "it has more than 1 MiB");
  return config_arguments(text, path);
}

Outcome<Arguments> config_arguments(std::string_view text, const std::string& path) {
  const auto config = read_json(text, kNestingMax);
  if (!config) return wrong(path, config.error().text);
  if (config->kind != Kind::object) {
    return wrong(
        path,
        R"(it must be a JSON object of the options of 'sluice add', such as {"spec": "a.img"})");
  }
  auto arguments = read_members(*config);
  if (!arguments) return wrong(path, arguments.error().text);
  return arguments;
}

namespace {

Outcome<Arguments> read_members(const JsonValue& config) {
  CommandLine line("add");
  declare_add(line, type_of(config));
  Arguments arguments;
  Arguments seen;
  const JsonValue* spec = nullptr;
  for (const JsonValue& member : config.items) {
    const std::string name = canonical_name(member.name);
    if (is_among(name, seen)) {
      return failed(fmt::format("the key {} occurs twice: give it once", shown(member.name)));
    }
    seen.push_back(name);
    if (name == kSpec) {
      spec = &member;
      continue;
    }
    const OptionInfo* const option = line.find(name);
    if (option == nullptr) return std::unexpected(unknown_key(line, member.name));
    if (auto added = add_option(arguments, *option, member); !added) {
      return std::unexpected(added.error());
    }
  }
  if (spec == nullptr) return arguments;
  arguments.emplace_back("--");
  arguments.push_back(spec->kind == Kind::text ? spec->text : to_text(*spec));
  return arguments;
}

// The target's type determines the other valid keys.
Arguments type_of(const JsonValue& config) {
  for (const JsonValue& member : config.items) {
    if (member.name == kType && member.kind == Kind::text) return {"--type=" + member.text};
  }
  return {};
}

Failure unknown_key(const CommandLine& line, const std::string& name) {
  if (const auto refusal = line.refusal_of(name)) return *refusal;
  std::vector<std::string_view> names = {kSpec};
  for (const OptionInfo& option : line.options()) names.push_back(option.name);
  const std::string nearest = did_you_mean(name, names);
  return {Exit::failure, fmt::format("{} is not the long name of an option: {}", shown(name),
                                     nearest.empty() ? "'sluice help add' lists them" : nearest)};
}

Outcome<void> add_option(Arguments& arguments, const OptionInfo& option, const JsonValue& value) {
  if (is_switch(option)) return add_flag(arguments, option, value);
  const std::vector<JsonValue> one = {value};
  const bool is_list = value.kind == Kind::array && option.repeated;
  for (const JsonValue& each : is_list ? value.items : one) {
    const bool is_number = each.kind == Kind::whole_number || each.kind == Kind::other_number;
    if (!is_number && each.kind != Kind::text) {
      return failed(
          fmt::format("{} must be {}, a text or a number", shown(value.name), option.value));
    }
    arguments.push_back(fmt::format("--{}={}", option.name, is_number ? to_text(each) : each.text));
  }
  return {};
}

// true, 1 and "yes" are the same, and so are false, 0 and "no".
Outcome<void> add_flag(Arguments& arguments, const OptionInfo& option, const JsonValue& value) {
  const std::string written = value.kind == Kind::text ? value.text : to_text(value);
  constexpr std::string_view kYes[] = {"true", "1", "yes", "on"};
  constexpr std::string_view kNo[] = {"false", "0", "no", "off"};
  const bool is_yes = is_among(written, kYes);
  if (!is_yes && !is_among(written, kNo)) {
    return failed(fmt::format("{} must be true or false (or 1 or 0), found {}", shown(value.name),
                              shown(written)));
  }
  if (!option.value.empty()) {
    arguments.push_back(fmt::format("--{}={}", option.name, is_yes ? 1 : 0));
  } else if (is_yes) {
    arguments.push_back(fmt::format("--{}", option.name));
  } else if (option.flag_value) {
    arguments.push_back(fmt::format("--{}=no", option.name));
  }
  return {};
}

}  // namespace
}  // namespace sluice::cli
