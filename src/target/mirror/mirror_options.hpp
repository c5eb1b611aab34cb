// MirrorOptions: what the spec of a mirror says, but for its legs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "target/mirror/members.hpp"

namespace sluice::mirror {

struct MirrorOptions {
  bool degraded = false;  // start although a leg is missing that was in sync
  LegSet write_mostly = 0;
  LegSet write_behind = 0;                // get writes after these were acknowledged
  uint64_t write_behind_most = 64 << 20;  // bytes of such writes
  std::optional<size_t> prefer = {};      // the leg that is read if it can be
  LegSet preferred() const { return prefer ? leg_bit(*prefer) : 0; }
  LegSet named() const { return preferred() | write_mostly | write_behind; }
  uint64_t least_rate = 4 << 20;  // of a resync, in bytes a second
  uint64_t most_rate = 0;         // likewise; 0: no limit
  // How long after its first return a leg that has left by itself comes back again; then twice
  // that.
  std::chrono::seconds later_return{2};
  // How long a leg that may come back is waited for before a spare takes its place.
  std::chrono::nanoseconds spare_after = std::chrono::seconds(30);
};

}  // namespace sluice::mirror
