#include "core/events.hpp"

#include <atomic>

namespace sluice {
namespace {

constinit std::atomic<EventSink*> the_sink = nullptr;

}  // namespace

void emit(const StackEvent& event) {
  if (EventSink* const sink = the_sink.load(std::memory_order_acquire)) sink->put(event);
}

EventSink* set_event_sink(EventSink* sink) {
  return the_sink.exchange(sink, std::memory_order_acq_rel);
}

}  // namespace sluice
