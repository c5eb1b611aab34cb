// log(): the engine's own log, for messages to people that no caller gets as an error.
//
// Never the default logger of the program that contains the engine: silent until that program sets
// a logger. Any thread may log.
#pragma once

#include <spdlog/logger.h>

#include <memory>

namespace sluice {

spdlog::logger& log();

// From now on the engine logs to `logger`; null: nothing is logged. Returns the previous logger, or
// null. Call it while no other thread logs: before a stack is opened.
std::shared_ptr<spdlog::logger> set_log(std::shared_ptr<spdlog::logger> logger);

}  // namespace sluice
