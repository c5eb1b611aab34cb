// The steps of amend_image() between versions 2 and 3.
#pragma once

#include "core/error.hpp"
#include "target/qcow2/offline/check.hpp"

namespace sluice::qcow2 {

// EOPNOTSUPP, by name: what version 2 cannot express, or version 3 demands.
Result<void> check_downgrade(int descriptor, const Check& check);
Result<void> check_upgrade(int descriptor, const Check& check);

// Of an image without a backing file: what reads as zeroes need not be mapped. Durable.
Result<void> remove_zero_entries(int descriptor);

}  // namespace sluice::qcow2
