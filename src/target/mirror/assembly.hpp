// decide(): what each leg of a mirror is, from what the superblocks of the present legs say.
//
// A pure function. It goes by generations and their history, never by counters or clocks, and
// refuses what is ambiguous instead of guessing (T3.4). docs/formats/mirror.md has the rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "target/mirror/leg_record.hpp"

namespace sluice::mirror {

// A leg that is there and has a superblock.
struct PresentLeg {
  std::string name;  // for messages: the text of its spec
  LegRecord record;
  uint64_t leg_bytes = 0;
  bool dirty = false;  // its bitmap has a bit set, is damaged in part, or cannot be read
};

enum class Role : uint8_t {
  winner,           // has all acknowledged data; serves dirty regions
  equal,            // the same data as the winner
  equal_but_dirty,  // the same, except in regions that are dirty on any leg of this generation
  behind_by_bits,   // lacks the regions that are dirty in its own bitmap or the winner's
  behind_all,       // lacks everything: its bitmap and the winner's do not suffice
  spare,
  refused,
};
std::string_view name_of(Role role);

struct Decision {
  struct Leg {
    Role role = Role::refused;
    std::string text;  // why, as a sentence about the leg, without its name
  };
  struct Missing {
    LegEntry entry;  // with the state that it had
  };

  // Why the array cannot be assembled from these legs; nullopt: it can.
  std::optional<Error> refusal;
  std::optional<size_t> winner;  // of the legs; nullopt if refused
  std::vector<Leg> legs;         // those that were passed, in their order
  std::vector<Missing> missing;  // the others that the array has

  // A leg that was in sync is missing. The array has all acknowledged data nevertheless, unless it
  // went on with that leg alone.
  bool degraded = false;
  // A leg that was in sync is missing or behind: a new generation must be durable on the winner and
  // all that equal it before the first write is acknowledged.
  bool new_generation = false;
  // The least of the winner and its equals: a larger size that only some of them have was never
  // shown to a client.
  uint64_t data_bytes = 0;
  // The table of legs as it is from now on: what is behind is stale, what is missing is out.
  std::vector<LegEntry> table;
};

// `discard`: legs (indices) that count as stale, with everything dirty, whatever they say.
Decision decide(std::span<const PresentLeg> legs, std::span<const size_t> discard = {});

// The leg that a user means by its number, from 1, or by its text. EINVAL with the choices.
Result<size_t> choose_leg(std::span<const std::string> names, std::string_view chosen);

}  // namespace sluice::mirror
