// emit(): reports an event of a device to its operator, in addition to the log. The kinds of events
// are fixed words, so that programs can act on them.
//
// Events are dropped until the program that contains the engine sets a sink. Any thread may emit,
// reactors included.
#pragma once

#include <string_view>

namespace sluice {

// The kinds of events that the engine emits.
inline constexpr std::string_view kStackFailed = "stack_failed";      // the stack refuses writes
inline constexpr std::string_view kHealthChanged = "health_changed";  // of a target
inline constexpr std::string_view kBackingGrown = "backing_grown";    // the device can follow

// The receiver may use it only during the call.
struct StackEvent {
  std::string_view kind;         // a word: lower case letters and _
  std::string_view text;         // one sentence, without a full stop
  std::string_view target = {};  // name of the target; empty: the event concerns the whole stack
};

class EventSink {
 public:
  virtual ~EventSink() = default;
  // Called by any thread, several at once. It must not block, because reactors call it.
  virtual void put(const StackEvent& event) = 0;
};

void emit(const StackEvent& event);

// From now on events go to `sink`; null: they are dropped. Returns the previous sink. A sink must
// outlive all stacks that were opened while it was set.
EventSink* set_event_sink(EventSink* sink);

}  // namespace sluice
