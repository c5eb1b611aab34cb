// `sluice serve`: one or several exports, from one process.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "cli/add_options.hpp"
#include "cli/command.hpp"
#include "daemon/activation.hpp"
#include "spec/shown.hpp"
#include "target/exports.hpp"

namespace sluice::cli {
namespace {

struct NamedSpec {
  std::string name;  // empty: none
  Spec spec;
};

// The name ends at the first '='; what has other signs before it is a spec.
Outcome<NamedSpec> read_export(const std::string& word) {
  NamedSpec read;
  const size_t sign = word.find('=');
  std::string written = word;
  if (sign != std::string::npos && is_export_name(std::string_view(word).substr(0, sign))) {
    read.name = word.substr(0, sign);
    written = word.substr(sign + 1);
  }
  if (written == "-") return usage("'sluice serve' reads no SPEC from the standard input");
  std::istringstream nothing;
  auto spec = read_written_spec(written, nothing);
  if (!spec && !read.name.empty()) {
    return failed(fmt::format("export {}: {}", read.name, spec.error().text));
  }
  if (!spec) return std::unexpected(spec.error());
  read.spec = std::move(*spec);
  return read;
}

// One export is a device with this stack; several are the disks of one stack.
Outcome<Spec> put_together(const CommandLine& line, FrontendOptions& options) {
  std::vector<std::string> names;
  std::vector<Spec> specs;
  for (const std::string& word : line.words()) {
    auto read = read_export(word);
    if (!read) return std::unexpected(read.error());
    if (read->name.empty() && line.words().size() > 1) {
      return usage(fmt::format("{} has no name: with several exports write NAME=SPEC for each",
                               shown(word)));
    }
    if (std::ranges::find(names, read->name) != names.end()) {
      return usage(fmt::format("two exports have the name {}: rename one", read->name));
    }
    names.push_back(std::move(read->name));
    specs.push_back(std::move(read->spec));
  }
  if (specs.empty()) return usage("nothing to serve: give [NAME=]SPEC (see 'sluice help serve')");
  if (specs.size() > 1) return exports_spec(names, std::move(specs));
  if (names.front().empty()) return std::move(specs.front());
  if (options.own.has("export")) {
    return usage(
        fmt::format("{}=... and --export both name the export: drop one of them", names.front()));
  }
  options.own.set("export", names.front());
  return std::move(specs.front());
}

void declare_serve(CommandLine& line, std::span<const std::string> /*arguments*/) {
  line.add_word("[NAME=]SPEC...");
  declare_device_options(line);
}

Outcome<void> serve(const CommandLine& line, const Streams& streams) {
  const auto passed = take_activated_descriptors();
  if (!passed) return failed(passed.error());
  auto request = read_device_options(line, *passed);
  if (!request) return std::unexpected(request.error());
  auto spec = put_together(line, request->serve.frontend);
  if (!spec) return std::unexpected(spec.error());
  request = with_spec(line, std::move(*request), std::move(*spec), *passed);
  if (!request) return std::unexpected(request.error());
  return carry_out(*request, streams);
}

}  // namespace

constinit const Command kServeCommand = {
    .name = "serve",
    .synopsis = "--listen ADDRESS... [OPTION]... [--] [NAME=]SPEC...",
    .summary = "Serve one or several exports to NBD clients.",
    .declare = declare_serve,
    .run = serve};

}  // namespace sluice::cli
