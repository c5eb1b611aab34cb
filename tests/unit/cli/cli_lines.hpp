// Helpers that parse the command lines of tests.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "cli/add_options.hpp"
#include "cli/cli.hpp"

namespace sluice::cli::test {

using Words = std::vector<std::string>;

struct Ended {
  int code = 0;
  std::string out;
  std::string error;
};

inline Ended run_words(const Words& words, const std::string& input = {}) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream error;
  const int code = run(words, {in, out, error});
  return {code, out.str(), error.str()};
}

// The parsed request of `sluice add WORDS`.
inline Outcome<AddRequest> read_words(const Words& words, const std::string& input = {},
                                      Grammar grammar = Grammar::sluice) {
  CommandLine line("add", grammar);
  declare_add(line, words);
  if (auto parsed = line.parse(words); !parsed) return std::unexpected(parsed.error());
  std::istringstream in(input);
  return read_add(line, in);
}

}  // namespace sluice::cli::test
