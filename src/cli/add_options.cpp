#include "cli/add_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "cli/values.hpp"
#include "frontend/ublk/abi_io.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

// The one option of a target that ublk has a letter for.
constexpr std::string_view kOffset = "offset";
constexpr char kOffsetLetter = 'o';

std::string type_in(std::span<const std::string> arguments);
void declare_common(CommandLine& line);
void declare_targets(CommandLine& line, std::string_view type);
void add_target_option(CommandLine& line, const OptionSyntax& option);
void refuse_what_ublk_has(CommandLine& line);

}  // namespace

void declare_add(CommandLine& line, std::span<const std::string> arguments) {
  line.add_word("SPEC");
  declare_common(line);
  declare_targets(line, type_in(arguments));
  refuse_what_ublk_has(line);
}

Outcome<AddRequest> read_add(const CommandLine& line, std::istream& in) {
  AddRequest request;
  auto frontend = read_frontend(line);
  if (!frontend) return std::unexpected(frontend.error());
  request.serve.frontend = std::move(*frontend);
  const auto debug_mask = read_mask(line, "debug_mask");
  if (!debug_mask) return std::unexpected(debug_mask.error());
  request.serve.debug_mask = *debug_mask;
  const auto in_task = read_switch(line, "uring_comp");
  if (!in_task) return std::unexpected(in_task.error());
  if (line.has("uring_comp") && !*in_task) {
    request.note = "-u 0 makes no difference: commands are always completed in the server's task";
  }
  request.serve.read_only = line.has("read_only");
  request.serve.foreground = line.has("foreground");
  request.serve.resume = line.has("resume");
  if (request.serve.resume && !request.serve.foreground) {
    return usage("--resume goes with --foreground: otherwise use 'sluice recover'");
  }
  request.json = line.has("json");

  auto spec = read_spec(line, in);
  if (!spec) return std::unexpected(spec.error());
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (error) {
    return failed(fmt::format("cannot tell the current directory: {}", error.message()));
  }
  make_paths_absolute(*spec, target_vocabulary(), here.native());
  if (std::string& at = request.serve.frontend.at; !at.empty()) at = here / at;
  request.serve.spec = std::move(*spec);
  return request;
}

Outcome<const TargetSyntax*> find_target_named(std::string_view name) {
  const auto vocabulary = target_vocabulary();
  const auto found = std::ranges::find(vocabulary, name, &TargetSyntax::name);
  if (found != vocabulary.end()) return &*found;
  std::vector<std::string_view> names;
  for (const TargetSyntax& target : vocabulary) names.push_back(target.name);
  const std::string nearest = did_you_mean(name, names);
  return failed(fmt::format(
      "unknown target {}: {}{}", shown(name), nearest,
      nearest.empty() ? "'sluice targets' lists all" : " ('sluice targets' lists all)"));
}

namespace {

// Looked for before the arguments are parsed, because it says which options there are.
std::string type_in(std::span<const std::string> arguments) {
  std::string type;
  for (size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::string& argument = arguments[i];
    const bool is_last = i + 1 == arguments.size();
    if ((argument == "-t" || argument == "-zt" || argument == "--type") && !is_last) {
      type = arguments[++i];
    } else if (argument.starts_with("--type=")) {
      type = argument.substr(argument.find('=') + 1);
    } else if (argument.starts_with("-t") || argument.starts_with("-zt")) {
      type = argument.substr(argument.find('t') + 1);
    }
  }
  return type;
}

void declare_common(CommandLine& line) {
  line.add({'t', "type", "TYPE", "the target: 'sluice targets' lists them"});
  line.add({'n', "number", "ID", "make it /dev/ublkbID (default: the first that is free)"});
  line.add({'q', "queues", "COUNT", "queues, each with a thread (default 1)"});
  line.add({'d', "depth", "COUNT", "requests in flight in each queue (default 128)"});
  line.add({'z', "zerocopy", "", "fail rather than copy the data"});
  line.add({.name = "usercopy", .help = "same as --mode user_copy"});
  line.add({'g', "need_get_data", "0|1", "with 1, same as --mode get_data"});
  line.add(
      {.name = "frontend",
       .value = "FRONTEND",
       .help = fmt::format("{} (default: ublk, else loop)", fmt::join(frontend_names(), ", "))});
  line.add({.name = "at",
            .value = "PATH",
            .help = "with fuse: where the data is to appear as a raw file"});
  line.add({.name = "allow_other", .help = "with fuse: let other users have that file"});
  line.add({.name = "loop_direct_io",
            .value = "0|1",
            .help = "with loop: past the page cache of the file behind it (default 1)"});
  line.add({.name = "mode",
            .value = "MODE",
            .help = "how the bytes reach the server (default: the best way there is)"});
  line.add({'r', "user_recovery", "0|1", "outlive the server: requests wait for the next one"});
  line.add({'i', "user_recovery_reissue", "0|1", "with -r 1: repeat those in flight as well"});
  line.add({'e', "user_recovery_fail_io", "0|1", "with -r 1: fail all until the next is there"});
  line.add({.name = "unprivileged", .help = "make a device that needs no root"});
  line.add(
      {.name = "max_io_buf_bytes", .value = "SIZE", .help = "the largest request (default 512k)"});
  line.add({.name = "read_only", .help = "refuse writes; open files for reading only"});
  line.add({'u', "uring_comp", "0|1", "always 1; here for the scripts of ublk"});
  line.add({.name = "debug_mask", .value = "MASK", .help = "log more: 0x1 requests, 0x2 device"});
  line.add(
      {.name = "config", .value = "FILE", .help = "take options and SPEC from this JSON file"});
  line.add({.name = "foreground", .help = "serve in this process until the device is gone"});
  line.add({.name = "resume", .help = "with --foreground: go on with what a dead server has left"});
  line.add({.name = "json", .help = "print the new device as JSON"});
  line.add({.letter = 'f',
            .name = "file",
            .value = "FILE",
            .help = "the file of the target, or one of its children",
            .repeated = true});
}

// The options of the target that are not the command's own. Those of other targets are known too,
// so that the sentence about them can say whose they are.
void declare_targets(CommandLine& line, std::string_view type) {
  const auto chosen = find_target_named(type);
  if (chosen) {
    for (const OptionSyntax& option : (*chosen)->options) add_target_option(line, option);
  }
  for (const TargetSyntax& target : target_vocabulary()) {
    for (const OptionSyntax& option : target.options) {
      if (line.find(option.name) != nullptr) continue;
      const char letter = option.name == kOffset ? kOffsetLetter : '\0';
      if (chosen) {
        line.refuse(letter, std::string(option.name),
                    fmt::format("--{0} is an option of {1}, not of {2} ('sluice help -t {2}' lists "
                                "those of {2})",
                                option.name, target.name, type));
      } else if (type.empty()) {
        line.refuse(letter, std::string(option.name),
                    fmt::format("--{0} is an option of a target: name the target with -t, or write "
                                "'{0}=...' into the SPEC",
                                option.name));
      } else {
        add_target_option(line, option);  // the unknown target is what to complain about
      }
    }
  }
}

void add_target_option(CommandLine& line, const OptionSyntax& option) {
  if (line.find(option.name) != nullptr) return;
  OptionInfo info{.name = std::string(option.name), .help = std::string(option.help)};
  info.letter = option.name == kOffset ? kOffsetLetter : '\0';
  info.repeated = true;  // so that a second one can be refused, as in a SPEC
  info.flag_value = option.kind == OptionKind::flag;
  info.of_target = true;
  switch (option.kind) {
    case OptionKind::size:
      info.value = "SIZE";
      break;
    case OptionKind::count:
      info.value = "COUNT";
      break;
    case OptionKind::text:
      info.value = "TEXT";
      break;
    case OptionKind::path:
      info.value = "FILE";
      break;
    case OptionKind::flag:
      break;
  }
  if (!option.fallback.empty()) info.help += fmt::format(" (default {})", option.fallback);
  line.add(std::move(info));
}

void refuse_what_ublk_has(CommandLine& line) {
  const auto refuse = [&line](char letter, const char* name, std::string_view why) {
    const std::string shown_name =
        letter != 0 ? fmt::format("-{} (--{})", letter, name) : fmt::format("--{}", name);
    line.refuse(letter, name, fmt::format("{} of ublk is not supported: {}", shown_name, why));
  };
  refuse('b', "batch_io", "leave it out, requests are batched where that pays");
  refuse('\0', "shmem_zc", "leave it out, -z demands zero copy of any memory");
  refuse('\0', "htlb", "leave it out, -z demands zero copy of any memory");
  refuse('\0', "rdonly_shmem_buf", "leave it out, -z demands zero copy of any memory");
  refuse('\0', "eventfd", "leave it out, 'sluice add' itself returns when the device is ready");
}

}  // namespace
}  // namespace sluice::cli
