// Durations in the notation for users: 10ms, 1.5s, 2m.
//
// Pure functions, safe on any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace sluice {

// A decimal number with a unit, one of ns, us, ms, s, m and h; 0 needs none. Rounded to
// nanoseconds, and cut to a hundred years. nullopt: anything else.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace sluice
