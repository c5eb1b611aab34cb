// What `sluice mirror promote` and `discard` write on legs that no server uses, in which order.
//
// Pure functions. After each of the writes, decide() refuses the legs, or does the right thing:
// docs/formats/mirror.md has the order and why.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "target/mirror/assembly.hpp"

namespace sluice::mirror {

// A write that is durable before the next one begins.
struct LegWrite {
  enum class What : uint8_t {
    all_bits,    // of the bitmap that the record describes are set
    superblock,  // is the record
  };

  size_t leg = 0;  // of those that were passed
  What what = What::superblock;
  LegRecord record;
};

// The legs, all in sync, go on without those that are not passed, and `owner` takes the array. No
// writes: they can do so already. Else why not.
Result<std::vector<LegWrite>> plan_promotion(std::span<const PresentLeg> legs, const Owner& owner,
                                             Generation next);

// The first leg is kept; what the others hold is given up, and they get everything from it. EBUSY:
// one of the others has newer data than the first, and not `newer_too`. No writes: the others are
// behind the first already. Else why not.
Result<std::vector<LegWrite>> plan_discard(std::span<const PresentLeg> legs, bool newer_too,
                                           Generation next);

}  // namespace sluice::mirror
