// Repairs the refcounts of an image that no program writes, and the flags that depend on them.
//
// A power cut at any point leaves an image that is no worse than before, and can be repaired: a
// refcount is only lowered when all references are known, what is raised becomes durable before a
// flag relies on it, refcounts that are built anew take effect with one write of the header, and
// the bits that call the image damaged are cleared last.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "target/qcow2/offline/check.hpp"

namespace sluice::qcow2 {

enum class Repair : uint8_t {
  leaks,  // lowers refcounts that are too high
  all,    // corrects all refcounts, or builds them anew
};

// Checks, repairs what is wrong, and checks again. `descriptor` is open for writing. The result is
// that of the second check.
Result<CheckResult> repair_image(int descriptor, Repair what);

}  // namespace sluice::qcow2
