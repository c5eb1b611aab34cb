#include "cli/add_config.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxBytes = 1 << 20;
constexpr std::string_view kSpec = "spec";

Failure wrong(const std::string& path, std::string_view what) {
  return {Exit::failure, fmt::format("the configuration {} cannot be used: {}", path, what)};
}

std::string option(const std::string& name, const Json& value) {
  if (value.is_boolean()) return "--" + name;
  return fmt::format("--{}={}", name, value.is_string() ? value.get<std::string>() : value.dump());
}

}  // namespace

Outcome<std::vector<std::string>> read_config(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (errno != 0) return std::unexpected(wrong(path, std::strerror(errno)));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxBytes) return std::unexpected(wrong(path, "it has more than 1 MiB"));
  return config_arguments(text, path);
}

Outcome<std::vector<std::string>> config_arguments(std::string_view text, const std::string& path) {
  const Json config = Json::parse(text, nullptr, false);
  if (!config.is_object()) {
    return std::unexpected(wrong(
        path,
        R"(it must be a JSON object of the options of 'sluice add', such as {"spec": "a.img"})"));
  }
  std::vector<std::string> arguments;
  for (const auto& [name, value] : config.items()) {
    if (name == kSpec) continue;
    if (name.empty() || name.starts_with('-') || name.contains('=')) {
      return std::unexpected(wrong(path, fmt::format("{} is no option's long name", shown(name))));
    }
    if (value.is_boolean() && !value.get<bool>()) continue;
    for (const Json& each : value.is_array() ? value : Json::array({value})) {
      if (each.is_null() || each.is_structured()) {
        return std::unexpected(
            wrong(path, fmt::format("{} must be a text, a number, true or false", shown(name))));
      }
      arguments.push_back(option(name, each));
    }
  }
  if (!config.contains(kSpec)) return arguments;
  const Json& spec = config.at(kSpec);
  arguments.push_back(spec.is_string() ? spec.get<std::string>() : spec.dump());
  return arguments;
}

}  // namespace sluice::cli
