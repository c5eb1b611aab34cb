#include "core/log.hpp"

#include <utility>

namespace sluice {
namespace {

struct Log {
  std::shared_ptr<spdlog::logger> given;
  spdlog::logger silent{"sluice"};  // has no sink

  Log() { silent.set_level(spdlog::level::off); }
};

Log& the_log() {
  static Log log;
  return log;
}

}  // namespace

spdlog::logger& log() {
  Log& now = the_log();
  return now.given ? *now.given : now.silent;
}

std::shared_ptr<spdlog::logger> set_log(std::shared_ptr<spdlog::logger> logger) {
  return std::exchange(the_log().given, std::move(logger));
}

}  // namespace sluice
