// main() of all test programs: a front end starts its keeper as another process of the same
// program.
#include <gmock/gmock.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/log.hpp"
#include "frontend/keeper/keeper_process.hpp"

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + (count > 0 ? 1 : 0), arguments + count);
  if (sluice::is_for_keeper(words)) std::_Exit(sluice::run_keeper());
  sluice::set_log(spdlog::default_logger());  // log lines may explain a failure
  testing::InitGoogleMock(&count, arguments);
  return RUN_ALL_TESTS();
}
