#include "cli/add_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <optional>

#include "cli/crypt/passphrases.hpp"
#include "cli/values.hpp"
#include "daemon/device_name.hpp"
#include "daemon/user.hpp"
#include "spec/duration.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/overlay.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

Outcome<void> read_poll(const CommandLine& line, AddRequest& request);
Outcome<void> read_wait(const CommandLine& line, AddRequest& request);
std::string type_in(std::span<const std::string> arguments);
void declare_for_ublk(CommandLine& line);
void declare_targets(CommandLine& line, std::string_view type);
void add_target_option(CommandLine& line, const OptionSyntax& option);
void refuse_what_ublk_has(CommandLine& line);
Outcome<void> read_companions(const CommandLine& line, AddRequest& request);
Outcome<void> read_user(const CommandLine& line, AddRequest& request);

}  // namespace

void declare_add(CommandLine& line, std::span<const std::string> arguments) {
  line.add_word("SPEC");
  line.add({'t', "type", "TYPE", "the target: 'sluice targets' lists them"});
  declare_device_options(line);
  declare_for_ublk(line);
  declare_targets(line, type_in(arguments));
  refuse_what_ublk_has(line);
}

void declare_device_options(CommandLine& line) {
  line.add({'n', "number", "ID", "the number, as in /dev/ublkbID (default: the first free one)"});
  line.add({.name = "name",
            .value = "NAME",
            .help = "the name; a block device also becomes /dev/sluice/NAME"});
  line.add({'q', "queues", "COUNT", "queues, each with a thread (default 1)"});
  line.add({'d', "depth", "COUNT", "requests in flight in each queue (default 128)"});
  declare_frontends(line);
  line.add({.name = "reserve",
            .value = "SIZE",
            .help = "locked memory of each queue for copied data (default 8M)"});
  line.add({.name = "read_only", .help = "refuse writes; open files for reading only"});
  line.add(
      {.name = "snapshot", .help = "write to a temporary file only, which ends with the device"});
  line.add(
      {.name = "force", .help = "attach files even if loop devices of the kernel have them open"});
  line.add({.name = "poll",
            .value = "TIME",
            .help = "look for requests so long before sleeping (default 32us; 0: never)"});
  line.add({.name = "debug_mask", .value = "MASK", .help = "log more: 0x1 requests, 0x2 device"});
  line.add({.name = "foreground", .help = "serve in this process until the device is deleted"});
  line.add({.name = "wait",
            .value = "TIME",
            .help = "wait so long for files and servers of the stack that are not there yet"});
  line.add({.name = "resume",
            .help = "with --foreground: recover the device of a dead server, or re-add it"});
  line.add({.name = "run",
            .value = "CMD",
            .help = "serve while CMD runs in a shell, where $uri or $path is the device"});
  line.add({.name = "ready_fd",
            .value = "FD",
            .help = "write the path or URI to this descriptor when the device is ready"});
  line.add({.name = "privilege-drop",
            .value = "USER",
            .help = "with nbd: serve with the rights of this user, and few system calls"});
  line.add({.name = "json", .help = "print the new device as JSON"});
  line.add({.name = "quiet", .help = "print only its path, and only warnings"});
}

Outcome<AddRequest> read_add(const CommandLine& line, std::istream& in,
                             std::span<const int> passed) {
  auto request = read_device_options(line, passed);
  if (!request) return request;
  auto spec = read_spec(line, in);
  if (!spec) return std::unexpected(spec.error());
  return with_spec(line, std::move(*request), std::move(*spec), passed);
}

Outcome<AddRequest> read_device_options(const CommandLine& line, std::span<const int> passed) {
  AddRequest request;
  request.run = line.text("run");
  request.serve.foreground = line.has("foreground") || line.has("run");
  auto frontend = read_frontend(line, request.serve.foreground ? type_for(passed) : nullptr);
  if (!frontend) return std::unexpected(frontend.error());
  request.serve.frontend = std::move(*frontend);
  const auto debug_mask = read_mask(line, "debug_mask");
  if (!debug_mask) return std::unexpected(debug_mask.error());
  request.serve.debug_mask = *debug_mask;
  const auto in_task = read_switch(line, "uring_comp");
  if (!in_task) return std::unexpected(in_task.error());
  if (line.has("uring_comp") && !*in_task) {
    request.notes.emplace_back(
        "-u 0 has no effect: commands are always completed in the server's task");
  }
  if (line.has("batch_io")) {
    request.notes.emplace_back("-b has no effect: requests are always batched where that helps");
  }
  if (line.has("name")) {
    request.serve.name = line.text("name");
    if (auto checked = check_name(request.serve.name); !checked) {
      return usage(checked.error().text);
    }
  }
  request.serve.read_only = line.has("read_only");
  request.serve.force = line.has("force");
  request.serve.resume = line.has("resume");
  if (auto read = read_poll(line, request); !read) return std::unexpected(read.error());
  if (auto read = read_wait(line, request); !read) return std::unexpected(read.error());
  if (request.serve.resume && !request.serve.foreground) {
    return usage("--resume goes with --foreground: otherwise use 'sluice recover'");
  }
  request.json = line.has("json");
  request.quiet = line.has("quiet");
  if (request.quiet && request.json) {
    return usage("--quiet and --json exclude each other: choose one");
  }
  if (auto read = read_companions(line, request); !read) return std::unexpected(read.error());
  request.serve.quiet = request.quiet;
  return request;
}

Outcome<AddRequest> with_spec(const CommandLine& line, AddRequest request, Spec spec,
                              std::span<const int> passed) {
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (error) {
    return failed(fmt::format("cannot determine the current directory: {}", error.message()));
  }
  name_standard_input(spec);
  if (auto made = make_paths_absolute(spec, target_vocabulary(), here.native()); !made) {
    return failed(made.error());
  }
  if (auto read = read_passphrases(spec); !read) return std::unexpected(read.error());
  make_paths_absolute(request.serve.frontend, here);
  request.serve.spec = line.has("snapshot") ? overlay_spec(std::move(spec)) : std::move(spec);
  request.serve.kept.assign(passed.begin(), passed.end());
  if (auto read = read_listeners(line, passed, request); !read) {
    return std::unexpected(read.error());
  }
  if (auto read = read_user(line, request); !read) return std::unexpected(read.error());
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

// The programs beside the server: the command of --run, and the reader of --ready_fd.
Outcome<void> read_companions(const CommandLine& line, AddRequest& request) {
  if (line.has("run")) {
    if (request.run.empty()) return usage("--run is empty: give a command for the shell");
    if (request.serve.resume) {
      return usage("--resume does not go with --run: the device exists for this command only");
    }
    if (request.json) {
      return usage("--json does not go with --run: the standard output is that of the command");
    }
    request.quiet = true;
  }
  if (!line.has("ready_fd")) return {};
  const auto number = read_number(line, "ready_fd", 0, {STDERR_FILENO + 1, INT_MAX});
  if (!number) return std::unexpected(number.error());
  request.ready_fd = static_cast<int>(*number);
  return {};
}

// The user whose rights the server has while it serves. Asked for before anything is made.
Outcome<void> read_user(const CommandLine& line, AddRequest& request) {
  if (!line.has("privilege-drop")) return {};
  const FrontendType* const type = request.serve.frontend.type;
  if (type == nullptr) {
    return usage(
        "--privilege-drop is for front end 'nbd', which nothing asks for: add --frontend "
        "nbd, or drop the option");
  }
  if (!type->needs_no_rights) {
    return usage(
        fmt::format("--privilege-drop is for front end 'nbd', not for '{}', whose server "
                    "needs root's rights: drop one of them",
                    type->name));
  }
  if (!request.run.empty()) {
    return usage(
        "--privilege-drop does not go with --run: the server could not end the command, "
        "which keeps its caller's rights");
  }
  request.serve.frontend.user = line.text("privilege-drop");
  if (const auto user = find_user(request.serve.frontend.user); !user) {
    return usage(user.error().text);
  }
  return {};
}

Outcome<void> read_poll(const CommandLine& line, AddRequest& request) {
  if (!line.has("poll")) return {};
  const auto time = parse_duration(line.text("poll"));
  if (!time || *time > std::chrono::microseconds(kPollMaxUs)) {
    return usage(fmt::format("--poll takes a time up to 1s, such as 50us, or 0, found {}",
                             shown(line.text("poll"))));
  }
  const auto whole = std::chrono::ceil<std::chrono::microseconds>(*time);
  request.serve.poll_us = static_cast<uint32_t>(whole.count());
  return {};
}

Outcome<void> read_wait(const CommandLine& line, AddRequest& request) {
  if (!line.has("wait")) return {};
  const auto time = parse_duration(line.text("wait"));
  if (!time) {
    return usage(
        fmt::format("--wait takes a time, such as 30s or 5m, found {}", shown(line.text("wait"))));
  }
  request.serve.wait = *time;
  return {};
}

// Determined before the arguments are parsed, because the options depend on it.
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

// The rest of the options: those of ublk, and what no network front end needs.
void declare_for_ublk(CommandLine& line) {
  line.add({'b', "batch_io", "", "for ublk scripts: requests are always batched"});
  line.add(
      {.name = "max_io_buf_bytes", .value = "SIZE", .help = "the largest request (default 512k)"});
  line.add({'u', "uring_comp", "0|1", "for ublk scripts: always 1"});
  line.add(
      {.name = "config", .value = "FILE", .help = "take options and SPEC from this JSON file"});
  line.add({.letter = 'f',
            .name = "file",
            .value = "FILE",
            .help = "the file of the target, or one of its children",
            .repeated = true});
}

// The options of the target that are not the command's own. Those of other targets are declared
// too, so that a message can name their target.
void declare_targets(CommandLine& line, std::string_view type) {
  const auto chosen = find_target_named(type);
  if (!chosen && !type.empty()) line.blame_unknown(chosen.error());
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
        add_target_option(line, option);  // the unknown target is reported instead
      }
    }
  }
}

void add_target_option(CommandLine& line, const OptionSyntax& option) {
  if (line.find(option.name) != nullptr) return;
  OptionInfo info{.name = std::string(option.name), .help = std::string(option.help)};
  info.letter = option.name == kOffset ? kOffsetLetter : '\0';
  info.repeated = true;  // so that duplicates can be refused, as in a SPEC
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
    case OptionKind::spec:
      info.value = "SPEC";
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
  refuse('\0', "shmem_zc", "leave it out, -z gives zero copy of any memory");
  refuse('\0', "htlb", "leave it out, -z gives zero copy of any memory");
  refuse('\0', "rdonly_shmem_buf", "leave it out, -z gives zero copy of any memory");
  refuse('\0', "eventfd", "leave it out, 'sluice add' itself returns when the device is ready");
}

}  // namespace
}  // namespace sluice::cli
