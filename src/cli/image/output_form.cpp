#include "cli/image/output_form.hpp"

#include <fmt/format.h>

#include "spec/shown.hpp"

namespace sluice::cli {

void declare_output(CommandLine& line) {
  line.add({.name = "json", .help = "print all values as JSON"});
  line.add({.name = "output", .value = "human|json", .help = "the same, as in qemu-img"});
}

Outcome<bool> wants_json(const CommandLine& line) {
  const std::string form = line.text("output", "human");
  if (form != "human" && form != "json") {
    return usage(fmt::format("--output takes 'human' or 'json', found {}", shown(form)));
  }
  return line.has("json") || form == "json";
}

}  // namespace sluice::cli
