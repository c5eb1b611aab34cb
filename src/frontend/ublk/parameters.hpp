// The parameters of a ublk device, from the stack's geometry.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "core/geometry.hpp"
#include "frontend/ublk/abi.hpp"

namespace sluice::ublk {

// `max_io_bytes`: the size of the device's buffers. `zero_copy`: the client's pages go to the
// backing, so its limits become the device's (P-21). EINVAL for a geometry that no ublk device can
// have: an empty one, blocks larger than a page.
Result<abi::Parameters> make_parameters(const Geometry& geometry, uint32_t max_io_bytes,
                                        bool zero_copy);

}  // namespace sluice::ublk
