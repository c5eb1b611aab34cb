// Whether a SPEC leads to a part of LVM.
//
// Blocks. Looks at the files alone, and does not run LVM.
#pragma once

#include "spec/spec.hpp"

namespace sluice::cli {

// A logical volume, or a slice of a physical volume. False as well if that cannot be found out.
bool is_of_lvm(const Spec& spec);

}  // namespace sluice::cli
