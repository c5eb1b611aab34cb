#include "core/events.hpp"

#include <atomic>

#include "core/health_event.hpp"

namespace sluice {
namespace {

constinit std::atomic<EventSink*> the_sink = nullptr;

}  // namespace

void emit(const Event& event) {
  if (EventSink* const sink = the_sink.load(std::memory_order_acquire)) sink->put(event);
}

EventSink* set_event_sink(EventSink* sink) {
  return the_sink.exchange(sink, std::memory_order_acq_rel);
}

void emit_health(std::string_view target, std::string_view text) {
  emit({.kind = kHealthChanged, .text = text, .target = target});
}

}  // namespace sluice
