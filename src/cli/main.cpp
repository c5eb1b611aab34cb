#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "cli/cli.hpp"

int main(int count, char** arguments) {
  // A reader that goes away ends the writing, never a device: servers inherit this.
  std::signal(SIGPIPE, SIG_IGN);
  // All at once, when run() flushes it, where a failure is seen.
  std::setvbuf(stdout, nullptr, _IOFBF, size_t{1} << 20);
  const std::vector<std::string> words(arguments + (count > 0 ? 1 : 0), arguments + count);
  return sluice::cli::run(words, {std::cin, std::cout, std::cerr});
}
