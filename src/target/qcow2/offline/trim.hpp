// Ends the file of an image behind its last cluster in use.
//
// Control path; blocks. For an image that nobody else has open.
#pragma once

#include "core/error.hpp"

namespace sluice::qcow2 {

// A regular file; nothing is durable that was not before. EINVAL: malformed.
Result<void> trim_image(int descriptor);

}  // namespace sluice::qcow2
