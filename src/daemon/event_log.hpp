// The event log of a server: all events that are emitted in this process, of its one device.
//
// Emitting an event never blocks: a bounded queue (log_queue.hpp) passes it to a thread, which
// appends it to the event file (event_file.hpp). This thread may block for any time, for instance
// on a file system that lies on the device itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/error.hpp"
#include "core/health.hpp"

namespace sluice {

// Called in the serving process, in its final mount namespace: it starts a thread.
Result<void> start_events(uint32_t id, const std::string& name);

// Emits kHealthChanged if the initial health of the device is not ok.
void emit_health(const StackHealth& health);

// From now on the writing thread calls `changed` after each event about the health of the stack;
// empty: it calls nothing. No call of the previous function is under way when this returns.
void watch_health(std::function<void()> changed);
// The same for kBackingGrown.
void watch_growth(std::function<void()> grown);

// Waits until all events are written, for a second at most. Call before _exit().
void finish_events();

}  // namespace sluice
