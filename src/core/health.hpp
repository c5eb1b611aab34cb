// Health: the state that a target, or a whole stack, reports of itself.
//
// Plain values, safe on any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// degraded: every request is served, but a fault exists, such as a lost copy. failed: some requests
// can no longer be served.
enum class HealthState : uint8_t { ok, degraded, failed };
inline constexpr HealthState kHealthStates[] = {HealthState::ok, HealthState::degraded,
                                                HealthState::failed};

constexpr std::string_view to_string(HealthState state) {
  constexpr std::string_view kNames[] = {"ok", "degraded", "failed"};
  return kNames[static_cast<size_t>(state)];
}

// A number that only this kind of target has. A counter only grows while the target is open; a
// gauge may also fall.
struct HealthNumber {
  enum class Kind : uint8_t { counter, gauge };

  std::string name;  // lower case letters and _, its unit last: "injected_errors", "dirty_bytes"
  uint64_t value = 0;
  Kind kind = Kind::counter;
};

struct Health {
  HealthState state = HealthState::ok;
  std::string reason = {};  // part of a sentence; empty: ok
  std::vector<HealthNumber> numbers = {};
  // The target has what its children have elsewhere as well: what fails them only degrades it.
  bool is_redundant = false;
};

struct TargetHealth {
  std::string name;  // of the target; "#2" is appended to the second target of a name
  Health health;
};

// The worst state in a tree of targets, and its first reason, prefixed with the target's name.
struct StackHealth {
  HealthState state = HealthState::ok;
  std::string reason = {};
  std::vector<TargetHealth> targets = {};  // all of them, from the top
};

}  // namespace sluice
