// The command line: `sluice COMMAND [OPTION]...`.
//
// Used by one thread. run() does everything except signal handling, so that tests can call it.
#pragma once

#include <istream>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command_line.hpp"

namespace sluice::cli {

struct Streams {
  std::istream& in;
  std::ostream& out;    // the requested output, or the available part
  std::ostream& error;  // one line per failure, with the prefix "sluice: "
};

// Writes "sluice: " and the sentence to the error stream, without terminal control characters.
void say(const Streams& streams, std::string_view sentence);

// Runs the command in `arguments` (without the program's name). Returns the exit code: 0 success, 1
// failure, 2 malformed command line.
int run(const std::vector<std::string>& arguments, const Streams& streams,
        Grammar grammar = Grammar::sluice);

// The grammar for a program that is called by this path.
Grammar grammar_of(std::string_view program);

}  // namespace sluice::cli
