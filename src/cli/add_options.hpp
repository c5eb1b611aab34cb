// The options of `sluice add`, and what they ask for.
//
// Pure but for read_add(), which may read a spec from the input and asks for the current directory.
// Nothing here touches the driver or a backing file.
#pragma once

#include <istream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "daemon/server.hpp"
#include "spec/vocabulary.hpp"

namespace sluice::cli {

struct AddRequest {
  ServeOptions serve;
  bool json = false;
  std::string note;  // what was accepted without effect; empty: nothing
};

// Declares the options of `add` and those of the target that the arguments name.
void declare_add(CommandLine& line, std::span<const std::string> arguments);

// What the parsed line asks for. `in` is read where SPEC is "-".
Outcome<AddRequest> read_add(const CommandLine& line, std::istream& in);

// The front end and its options (add_frontend.cpp).
Outcome<FrontendOptions> read_frontend(const CommandLine& line);

// What --mode takes: the modes of ublk, then the data paths of FUSE that are none of these.
std::vector<std::string_view> mode_names();

// The stack: from SPEC, or from -t with the files and the target's options (add_spec.cpp). Paths
// are as they were written.
Outcome<Spec> read_spec(const CommandLine& line, std::istream& in);

// The value of the target's option --NAME (add_spec.cpp).
Outcome<OptionValue> read_option_value(const OptionSyntax& option, const std::string& text);

// A target by its name, or the sentence that there is none.
Outcome<const TargetSyntax*> find_target_named(std::string_view name);

}  // namespace sluice::cli
