#include "daemon/log.hpp"

#include <spdlog/details/log_msg.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "core/log.hpp"
#include "daemon/clerk.hpp"
#include "daemon/log_queue.hpp"
#include "daemon/state.hpp"

namespace sluice {
namespace {

constexpr uint32_t kLogBytes = 1 << 20;
constexpr size_t kKeptLines = 64;

// For a server that could not open a file again when this one is full.
class ClerkSink final : public spdlog::sinks::sink {
 public:
  explicit ClerkSink(Clerk& clerk) : clerk_(clerk) {}

  void log(const spdlog::details::log_msg& line) override {
    [[maybe_unused]] const auto written = clerk_.write_log(
        line.time, static_cast<int>(line.level), {line.payload.data(), line.payload.size()});
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  Clerk& clerk_;
};

// The final sink. Opens files; syslog() connects at its first line.
spdlog::sink_ptr make_sink(bool foreground, const std::string& path) {
  if (foreground) return std::make_shared<spdlog::sinks::stderr_sink_mt>();
  if (access("/dev/log", F_OK) == 0) {
    return std::make_shared<spdlog::sinks::syslog_sink_mt>("sluice", LOG_PID, LOG_DAEMON, true);
  }
  if (Clerk* const clerk = Clerk::hired()) return std::make_shared<ClerkSink>(*clerk);
  return make_log_file_sink(path);
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

spdlog::sink_ptr make_log_file_sink(const std::string& path) {
  spdlog::file_event_handlers handlers;
  handlers.before_open = make_log_file;
  return std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, kLogBytes, 1, false,
                                                                handlers);
}

void finish_logging() { spdlog::default_logger()->flush(); }

}  // namespace sluice
