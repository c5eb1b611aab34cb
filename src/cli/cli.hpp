// The command line: `sluice COMMAND [OPTION]...`.
//
// Used by one thread. run() does everything but look for signals, so that tests can call it.
#pragma once

#include <istream>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::cli {

struct Streams {
  std::istream& in;
  std::ostream& out;    // what was asked for, and only after it succeeded
  std::ostream& error;  // one line for each failure, beginning with "sluice: "
};

// One line on the error stream: "sluice: " and the sentence, in which nothing steers a terminal.
void say(const Streams& streams, std::string_view sentence);

// Runs what the arguments (without the program's name) say. Returns the exit code: 0 success,
// 1 failure, 2 the command line is wrong.
int run(const std::vector<std::string>& arguments, const Streams& streams);

}  // namespace sluice::cli
