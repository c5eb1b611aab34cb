// LogQueue: a spdlog sink that never blocks. Lines go into a bounded queue, and a separate thread
// writes them to the sink behind it, which may block for any time: it may be a journal on the
// device itself, or a pipe without a reader.
//
// Any thread may call log(). It stores the text and the time of the call, without I/O and
// allocation. If the queue is full the line is dropped and counted, and the next line that fits
// reports the count. Only flush() and the destructor wait, for a bounded time; a thread that still
// writes then is detached.
#pragma once

#include <spdlog/sinks/sink.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "core/error.hpp"

namespace sluice {

class LogQueue final : public spdlog::sinks::sink {
 public:
  // Makes the sink behind, on the queue's thread, because this may block as well. Null, or an
  // exception: all lines are lost.
  using MakeSink = std::function<spdlog::sink_ptr()>;

  static constexpr size_t kLineBytesMax = 4096;  // longer lines are truncated

  struct Limits {
    size_t bytes = 128 * 1024;  // of all waiting lines; more than kLineBytesMax
    std::chrono::milliseconds timeout{1000};
  };

  // EAGAIN: no thread of this name could be started. A forked child has no such thread.
  static Result<std::shared_ptr<LogQueue>> start(MakeSink make_sink, const Limits& limits,
                                                 const std::string& thread = "sluice-log");
  ~LogQueue() override;

  void log(const spdlog::details::log_msg& message) override;
  // Returns when the sink has been made and all earlier lines have been written, or after the
  // timeout.
  void flush() override;
  // The sink behind has its own format.
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  class Lines;

  LogQueue(std::shared_ptr<Lines> lines, std::chrono::milliseconds timeout);

  const std::shared_ptr<Lines> lines_;  // shared with the thread, which may outlive this
  const std::chrono::milliseconds timeout_;
};

}  // namespace sluice
