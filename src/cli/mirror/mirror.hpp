// The actions of `sluice mirror`: create, examine, forget, promote, discard.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cli/cli.hpp"
#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "image/open_disk.hpp"

namespace sluice::cli {

Outcome<void> create_mirror(const CommandLine& line, const Streams& streams);
Outcome<void> examine_mirror(const CommandLine& line, const Streams& streams);
Outcome<void> forget_mirror(const CommandLine& line, const Streams& streams);
Outcome<void> promote_mirror(const CommandLine& line, const Streams& streams);
Outcome<void> discard_mirror(const CommandLine& line, const Streams& streams);

// The legs of the command line: all words after the action.
std::span<const std::string> leg_words(const CommandLine& line);

enum class LegAccess : uint8_t {
  look,   // also while a server uses it
  write,  // nobody else uses it
};
// Any SPEC. A path is a raw file, as in a mirror; nothing is recognised.
Outcome<std::unique_ptr<image::OpenDisk>> open_leg(const std::string& word, LegAccess access);

}  // namespace sluice::cli
