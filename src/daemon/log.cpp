#include "daemon/log.hpp"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "core/log.hpp"
#include "daemon/log_queue.hpp"
#include "daemon/state.hpp"

namespace sluice {
namespace {

constexpr uint32_t kLogBytes = 1 << 20;
constexpr size_t kKeptLines = 64;

// The final sink. Opens files; syslog() connects at its first line.
spdlog::sink_ptr make_sink(bool foreground, const std::string& path) {
  if (foreground) return std::make_shared<spdlog::sinks::stderr_sink_mt>();
  if (access("/dev/log", F_OK) == 0) {
    return std::make_shared<spdlog::sinks::syslog_sink_mt>("sluice", LOG_PID, LOG_DAEMON, true);
  }
  spdlog::file_event_handlers handlers;
  handlers.before_open = make_log_file;
  return std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, kLogBytes, 1, false,
                                                                handlers);
}

// The engine uses the log of the process.
void log_to(spdlog::sink_ptr sink, uint32_t debug_mask, bool quiet = false) {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("sluice", std::move(sink)));
  set_log(spdlog::default_logger());
  spdlog::set_level(debug_mask != 0 ? spdlog::level::debug
                    : quiet         ? spdlog::level::warn
                                    : spdlog::level::info);
}

}  // namespace

LogKeeper::LogKeeper(uint32_t debug_mask, bool quiet)
    : quiet_(quiet), sink_(std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(kKeptLines)) {
  log_to(sink_, debug_mask);
}

std::vector<std::string> LogKeeper::lines() const {
  std::vector<std::string> lines;
  for (const auto& kept : sink_->last_raw()) {
    if (kept.level < (quiet_ ? spdlog::level::warn : spdlog::level::info)) continue;
    lines.emplace_back(kept.payload.data(), kept.payload.size());
  }
  return lines;
}

void LogKeeper::repeat() const {
  for (const auto& kept : sink_->last_raw()) {
    spdlog::default_logger()->log(kept.time, {}, kept.level, kept.payload);
  }
}

Result<void> start_logging(bool foreground, const std::string& path, uint32_t debug_mask,
                           bool quiet) {
  auto queue = LogQueue::start([=] { return make_sink(foreground, path); }, {});
  if (!queue) return std::unexpected(queue.error());
  log_to(std::move(*queue), debug_mask, quiet);
  return {};
}

void finish_logging() { spdlog::default_logger()->flush(); }

}  // namespace sluice
