#include "daemon/event_log.hpp"

#include <fmt/format.h>
#include <spdlog/details/log_msg.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <mutex>
#include <string_view>

#include "core/events.hpp"
#include "daemon/event_file.hpp"
#include "daemon/log_queue.hpp"

namespace sluice {
namespace {

constexpr size_t kWaitingBytes = 32 * 1024;
constexpr size_t kQueuedKindMax = 32;
constexpr char kDivider = '\0';  // between kind, target and text in the queue
static_assert(kQueuedKindMax + kEventTargetMax + kEventTextMax + 2 < LogQueue::kLineBytesMax);

// Used by the writing thread and the control thread.
class EventWatch {
 public:
  void set(std::function<void()> changed) {
    const std::scoped_lock guard(mutex_);
    changed_ = std::move(changed);
  }
  void call() {
    const std::scoped_lock guard(mutex_);
    if (changed_) changed_();
  }

 private:
  std::mutex mutex_;
  std::function<void()> changed_;
};

// Shared with the writing thread, which may outlive everything else.
struct EventWatches {
  EventWatch health;
  EventWatch growth;
};

std::shared_ptr<EventWatches> event_watches() {
  static const auto watches = std::make_shared<EventWatches>();
  return watches;
}

// The end of the queue that may block.
class EventWriter final : public spdlog::sinks::sink {
 public:
  EventWriter(uint32_t id, std::string name) : id_(id), name_(std::move(name)) {}

  void log(const spdlog::details::log_msg& message) override {
    DeviceEvent event{.time = std::chrono::floor<std::chrono::milliseconds>(message.time),
                      .id = id_,
                      .name = name_,
                      .kind = std::string(kEventsLost),
                      .text = std::string(message.payload.data(), message.payload.size()),
                      .target = {}};
    if (message.level == spdlog::level::info) {  // otherwise the queue reports dropped lines
      event.kind = take_part(event.text);
      event.target = take_part(event.text);
    }
    if (event.kind == kHealthChanged || event.kind == kStackFailed) watches_->health.call();
    if (event.kind == kBackingGrown) watches_->growth.call();
    [[maybe_unused]] const auto appended = append_event(event);  // an error cannot be reported
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  static std::string take_part(std::string& text) {
    std::string part = text.substr(0, text.find(kDivider));
    text.erase(0, part.size() + 1);
    return part;
  }

  const uint32_t id_;
  const std::string name_;
  const std::shared_ptr<EventWatches> watches_ = event_watches();
};

// The end of the queue that never blocks.
class QueuedEvents final : public EventSink {
 public:
  explicit QueuedEvents(std::shared_ptr<LogQueue> queue) : queue_(std::move(queue)) {}

  void put(const StackEvent& event) override {
    std::array<char, LogQueue::kLineBytesMax> bytes;
    char* end = bytes.data();
    const auto add = [&end](std::string_view part, size_t most) {
      end = std::ranges::copy(part.substr(0, most), end).out;
    };
    add(event.kind, kQueuedKindMax);
    *end++ = kDivider;
    add(event.target, kEventTargetMax);
    *end++ = kDivider;
    add(event.text, kEventTextMax);
    const std::string_view payload(bytes.data(), end);
    queue_->log({"sluice", spdlog::level::info, {payload.data(), payload.size()}});
  }
  void flush() { queue_->flush(); }

 private:
  const std::shared_ptr<LogQueue> queue_;
};

QueuedEvents* the_events = nullptr;  // set once, before the process has other threads

}  // namespace

Result<void> start_events(uint32_t id, const std::string& name) {
  auto queue = LogQueue::start([=] { return std::make_shared<EventWriter>(id, name); },
                               {.bytes = kWaitingBytes}, "sluice-events");
  if (!queue) return std::unexpected(queue.error());
  the_events = new QueuedEvents(std::move(*queue));  // never destroyed: any thread may emit
  set_event_sink(the_events);
  return {};
}

void emit_health(const StackHealth& health) {
  if (health.state == HealthState::ok) return;
  const std::string text = fmt::format("{}: {}", to_string(health.state), health.reason);
  emit({.kind = kHealthChanged, .text = text});
}

void watch_health(std::function<void()> changed) {
  event_watches()->health.set(std::move(changed));
}

void watch_growth(std::function<void()> grown) { event_watches()->growth.set(std::move(grown)); }

void finish_events() {
  if (the_events != nullptr) the_events->flush();
}

}  // namespace sluice
