// Gives an image that no target serves another backing file, or none.
//
// Control path; blocks. A power cut leaves the old one or the new one
// (target/qcow2/backing_name.hpp).
#pragma once

#include <string>

#include "core/error.hpp"

namespace sluice::qcow2 {

// Changes the header only. `descriptor` is open for writing; an empty name: none.
Result<void> set_backing(int descriptor, const std::string& name, const std::string& format);

}  // namespace sluice::qcow2
