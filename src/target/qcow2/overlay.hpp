// The target `overlay`: a disk that is only read, with all writes in a temporary file.
#pragma once

#include "spec/spec.hpp"

namespace sluice {

// The spec with an overlay above the disk that clients see, or above each of several.
Spec overlay_spec(Spec below);

}  // namespace sluice
