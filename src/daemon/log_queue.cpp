#include "daemon/log_queue.hpp"

#include <fmt/format.h>
#include <spdlog/details/log_msg.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "core/thread.hpp"

namespace sluice {
namespace {

constexpr const char* kName = "sluice";

struct Head {
  spdlog::log_clock::time_point time;
  spdlog::level::level_enum level = spdlog::level::off;
  uint32_t length = 0;
};

}  // namespace

// The waiting lines in a circular buffer of bytes: a Head and its text for each.
class LogQueue::Lines {
 public:
  explicit Lines(size_t bytes) : circle_(bytes) {}

  // --- For loggers.
  void put(const Head& head, std::string_view text);
  void wait_until_written(std::chrono::milliseconds timeout);
  void end();

  // --- For the thread.
  void write_to(const MakeSink& make_sink);

 private:
  using Text = std::array<char, kLineBytesMax>;

  std::optional<Head> take(Text& text);
  bool try_put(const Head& head, std::string_view text);
  bool tell_of_dropped();
  void append(std::span<const std::byte> bytes);
  void remove(std::span<std::byte> bytes);

  std::mutex mutex_;
  std::condition_variable came_;  // a line, or the end
  std::condition_variable wrote_;
  std::vector<std::byte> circle_;
  size_t first_ = 0;  // the begin of the oldest line
  size_t used_ = 0;
  uint64_t dropped_ = 0;  // not yet reported
  // Lines since the start; making the sink counts as one.
  uint64_t put_ = 1;
  uint64_t taken_ = 1;
  uint64_t written_ = 0;
  bool ended_ = false;
};

Result<std::shared_ptr<LogQueue>> LogQueue::start(MakeSink make_sink, const Limits& limits,
                                                  const std::string& thread_name) {
  auto lines = std::make_shared<Lines>(limits.bytes);
  auto thread = start_thread(
      thread_name, [lines, make_sink = std::move(make_sink)] { lines->write_to(make_sink); });
  if (!thread) return std::unexpected(thread.error());
  thread->detach();  // it may still block in a write when this ends
  return std::shared_ptr<LogQueue>(new LogQueue(std::move(lines), limits.timeout));
}

LogQueue::LogQueue(std::shared_ptr<Lines> lines, std::chrono::milliseconds timeout)
    : lines_(std::move(lines)), timeout_(timeout) {}

LogQueue::~LogQueue() {
  lines_->end();
  lines_->wait_until_written(timeout_);
}

void LogQueue::log(const spdlog::details::log_msg& message) {
  const size_t length = std::min(message.payload.size(), kLineBytesMax);
  const Head head{
      .time = message.time, .level = message.level, .length = static_cast<uint32_t>(length)};
  lines_->put(head, {message.payload.data(), length});
}

void LogQueue::flush() { lines_->wait_until_written(timeout_); }

// --- Lines

void LogQueue::Lines::put(const Head& head, std::string_view text) {
  const std::scoped_lock guard(mutex_);
  if (!tell_of_dropped() || !try_put(head, text)) ++dropped_;
  came_.notify_one();
}

void LogQueue::Lines::wait_until_written(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const uint64_t wanted = put_ + (dropped_ != 0 ? 1 : 0);
  wrote_.wait_for(lock, timeout, [&] { return written_ >= wanted; });
}

void LogQueue::Lines::end() {
  const std::scoped_lock guard(mutex_);
  ended_ = true;
  came_.notify_one();
}

void LogQueue::Lines::write_to(const MakeSink& make_sink) {
  spdlog::sink_ptr sink;
  try {
    sink = make_sink();
  } catch (const std::exception&) {
    sink = nullptr;  // the error cannot be reported
  }
  Text text{};
  while (const auto head = take(text)) {
    if (!sink) continue;
    try {
      sink->log({head->time, {}, kName, head->level, {text.data(), head->length}});
      sink->flush();
    } catch (const std::exception&) {
      continue;  // the line is lost
    }
  }
}

// Waits for the next line; the one before counts as written. nullopt at the end.
std::optional<Head> LogQueue::Lines::take(Text& text) {
  std::unique_lock lock(mutex_);
  written_ = taken_;
  tell_of_dropped();
  wrote_.notify_all();
  came_.wait(lock, [this] { return used_ != 0 || ended_; });
  if (used_ == 0) return std::nullopt;
  Head head;
  remove(std::as_writable_bytes(std::span(&head, 1)));
  remove(std::as_writable_bytes(std::span(text).first(head.length)));
  ++taken_;
  return head;
}

bool LogQueue::Lines::try_put(const Head& head, std::string_view text) {
  if (sizeof(head) + text.size() > circle_.size() - used_) return false;
  append(std::as_bytes(std::span(&head, 1)));
  append(std::as_bytes(std::span(text)));
  ++put_;
  return true;
}

// Appends a line about dropped lines, once there is room. False: there is none yet.
bool LogQueue::Lines::tell_of_dropped() {
  if (dropped_ == 0) return true;
  std::array<char, 64> text{};
  const auto end = fmt::format_to_n(text.data(), text.size(), "{} lines dropped", dropped_);
  const Head head{.time = spdlog::log_clock::now(),
                  .level = spdlog::level::warn,
                  .length = static_cast<uint32_t>(end.size)};
  if (!try_put(head, {text.data(), end.size})) return false;
  dropped_ = 0;
  return true;
}

void LogQueue::Lines::append(std::span<const std::byte> bytes) {
  const size_t begin = (first_ + used_) % circle_.size();
  const size_t until_end = std::min(bytes.size(), circle_.size() - begin);
  std::ranges::copy(bytes.first(until_end), circle_.begin() + static_cast<ptrdiff_t>(begin));
  std::ranges::copy(bytes.subspan(until_end), circle_.begin());
  used_ += bytes.size();
}

void LogQueue::Lines::remove(std::span<std::byte> bytes) {
  const std::span<const std::byte> circle(circle_);
  const size_t until_end = std::min(bytes.size(), circle.size() - first_);
  std::ranges::copy(circle.subspan(first_, until_end), bytes.begin());
  std::ranges::copy(circle.first(bytes.size() - until_end),
                    bytes.begin() + static_cast<ptrdiff_t>(until_end));
  first_ = (first_ + bytes.size()) % circle.size();
  used_ -= bytes.size();
}

}  // namespace sluice
