// The size of a page of memory, on every machine that Sluice runs on.
#pragma once

#include <cstdint>

namespace sluice {

inline constexpr uint32_t kPageBytes = 4096;

}  // namespace sluice
