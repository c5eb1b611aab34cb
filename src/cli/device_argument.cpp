#include "cli/device_argument.hpp"

#include <fmt/format.h>

#include "daemon/device_name.hpp"

namespace sluice::cli {

void declare_device(CommandLine& line, std::string help) {
  line.add({.letter = 'n',
            .name = "number",
            .value = std::string(kDeviceWord),
            .help = std::move(help)});
  line.add_word(std::string(kDeviceWord));
}

Outcome<DeviceArgument> read_device(const CommandLine& line) {
  DeviceArgument argument{.id = {}, .rest = line.words()};
  std::string word = line.text("number");
  if (!line.has("number")) {
    if (argument.rest.empty()) return argument;
    word = argument.rest.front();
    argument.rest = argument.rest.subspan(1);
  }
  const auto id = find_device(word);
  if (!id) return failed(id.error());
  argument.id = *id;
  return argument;
}

Outcome<std::optional<uint32_t>> read_only_device(const CommandLine& line) {
  if (line.has("number") && line.word()) return std::unexpected(line.explain_word(*line.word()));
  const auto argument = read_device(line);
  if (!argument) return std::unexpected(argument.error());
  return argument->id;
}

Outcome<uint32_t> read_required_device(const CommandLine& line) {
  const auto id = read_only_device(line);
  if (!id) return std::unexpected(id.error());
  if (!*id) return needs_device(line);
  return **id;
}

std::unexpected<Failure> needs_device(const CommandLine& line) {
  return usage(
      fmt::format("'sluice {}' needs a DEVICE: its number, name or path ('sluice list' "
                  "shows them)",
                  line.command()));
}

}  // namespace sluice::cli
