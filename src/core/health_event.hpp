// emit_health(): the event that a target has changed its state, for sources that cannot include
// core/events.hpp because they use the Event of coroutines (ring/event.hpp).
#pragma once

#include <string_view>

namespace sluice {

// Emits kHealthChanged. Any thread.
void emit_health(std::string_view target, std::string_view text);

}  // namespace sluice
