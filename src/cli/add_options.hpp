// The options of `sluice add`, and of `sluice serve`, which has some of them.
//
// Pure functions, except read_add(), which may read a spec from the input and uses the current
// directory. Nothing here accesses the driver or a backing file.
#pragma once

#include <filesystem>
#include <istream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/cli.hpp"
#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "daemon/server.hpp"
#include "spec/vocabulary.hpp"

namespace sluice::cli {

struct AddRequest {
  ServeOptions serve;
  bool json = false;
  bool quiet = false;  // print the path only
  std::string run;     // a command for whose time the device exists; empty: none
  int ready_fd = -1;   // where the path is written when the device is ready; -1: nowhere
  std::vector<std::string> notes;  // options accepted without effect
};

// Declares the options of `add` and those of the target that the arguments name.
void declare_add(CommandLine& line, std::span<const std::string> arguments);

// Converts the parsed line. Reads `in` if SPEC is "-". `passed`: see take_activated_descriptors().
Outcome<AddRequest> read_add(const CommandLine& line, std::istream& in,
                             std::span<const int> passed = {});
// Its parts, for other commands that make a device: everything but the stack, and then the stack.
void declare_device_options(CommandLine& line);
Outcome<AddRequest> read_device_options(const CommandLine& line, std::span<const int> passed);
Outcome<AddRequest> with_spec(const CommandLine& line, AddRequest request, Spec spec,
                              std::span<const int> passed);
// Makes the device, and says so (add.cpp).
Outcome<void> carry_out(const AddRequest& request, const Streams& streams);

// The options of the front ends (add_frontend.cpp). Paths are not made absolute.
void declare_frontends(CommandLine& line);
// `fallback`: the front end if no option asks for one; null: none.
Outcome<FrontendOptions> read_frontend(const CommandLine& line, const FrontendType* fallback);
void make_paths_absolute(FrontendOptions& options, const std::filesystem::path& directory);

// The front end that serves sockets of `passed`, if there are any that listen; otherwise null
// (add_listeners.cpp).
const FrontendType* type_for(std::span<const int> passed);
// Where clients connect, if the front end needs to know.
Outcome<void> read_listeners(const CommandLine& line, std::span<const int> passed,
                             AddRequest& request);

// The values of --mode: the modes of all front ends, each once.
std::vector<std::string_view> mode_names();

// The stack: from SPEC, or from -t with the files and the target's options (add_spec.cpp). Paths
// are not made absolute.
Outcome<Spec> read_spec(const CommandLine& line, std::istream& in);

// A SPEC as it is written. Reads `in` if it is "-".
Outcome<Spec> read_written_spec(const std::string& word, std::istream& in);

// Reads the value of the target's option --NAME in this grammar (add_spec.cpp).
Outcome<OptionValue> read_option_value(const OptionSyntax& option, const std::string& text,
                                       Grammar grammar);

// The only target option with a letter in ublk. There it counts sectors.
inline constexpr std::string_view kOffset = "offset";
inline constexpr char kOffsetLetter = 'o';

// Finds a target by name, or returns the failure.
Outcome<const TargetSyntax*> find_target_named(std::string_view name);

}  // namespace sluice::cli
