#include <fcntl.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "cli/cli.hpp"
#include "cli/file_output.hpp"
#include "core/log.hpp"
#include "daemon/clerk_process.hpp"
#include "frontend/keeper/keeper_process.hpp"

namespace {

// A caller may have closed the standard descriptors. Another file must not get their numbers: log
// lines would go into an image.
void open_standard_descriptors() {
  for (const int each : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(each, F_GETFD) >= 0) continue;
    if (open("/dev/null", O_RDWR) != each) std::_Exit(1);  // open() returns the lowest free number
  }
}

// The log of this process, unlike a server's, goes to the standard error output.
void log_beside_errors() {
  auto log =
      std::make_shared<spdlog::logger>("sluice", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log->set_pattern("sluice: %v");
  spdlog::set_default_logger(std::move(log));
  sluice::set_log(spdlog::default_logger());
}

}  // namespace

int main(int count, char** arguments) {
  open_standard_descriptors();
  log_beside_errors();
  const std::vector<std::string> words(arguments + (count > 0 ? 1 : 0), arguments + count);
  if (sluice::is_for_keeper(words)) std::_Exit(sluice::run_keeper());
  if (sluice::is_for_clerk(words)) std::_Exit(sluice::run_clerk());
  // SIGPIPE and SIGXFSZ are ignored: a closed reader or a file size limit makes writes fail, but
  // never ends a device.
  for (const int each : {SIGPIPE, SIGXFSZ}) std::signal(each, SIG_IGN);
  sluice::cli::FileOutput output(STDOUT_FILENO);
  std::ostream out(&output);
  return sluice::cli::run(words, {std::cin, out, std::cerr},
                          sluice::cli::grammar_of(count > 0 ? arguments[0] : ""));
}
