// What a ublk device tells the kernel about itself, from the stack's geometry.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "core/geometry.hpp"
#include "frontend/ublk/abi_parameters.hpp"

namespace sluice::ublk {

// `max_io_bytes`: what the device's buffers hold. `zero_copy`: the client's pages go to the backing
// as they are, so its limits become the device's (P-21). EINVAL for a geometry that no ublk device
// can have: an empty one, blocks above the page size.
Result<abi::Parameters> make_parameters(const Geometry& geometry, uint32_t max_io_bytes,
                                        bool zero_copy);

}  // namespace sluice::ublk
