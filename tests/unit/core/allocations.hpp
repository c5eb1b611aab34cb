// Counts this thread's allocations with `new`: the data path makes none in its steady state (P-20).
#pragma once

#include <cstdint>

namespace sluice::test {

uint64_t allocations();

}  // namespace sluice::test
