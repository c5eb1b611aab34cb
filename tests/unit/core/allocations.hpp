// How often this thread has allocated with `new`: the data path must not, in its steady state
// (P-20).
#pragma once

#include <cstdint>

namespace sluice::test {

uint64_t allocations();

}  // namespace sluice::test
