// The feature names of ublk's own tool, which scripts search for.
//
// A constant table, safe on any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::cli {

struct Feature {
  uint64_t bit;
  std::string_view name;         // in `features`
  std::string_view device_name;  // in the flags of a device, in `list`
};

// By bit, from the lowest.
std::span<const Feature> features();

}  // namespace sluice::cli
