// Which number a new device gets. Devices of all front ends share one row of numbers, so that -n
// says which one is meant.
//
// The caller holds the StateLock from the choice until the device's record is written.
#pragma once

#include <cstdint>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

// Keeps other processes that use the same state directory from choosing numbers.
class StateLock {
 public:
  static Result<StateLock> take();

 private:
  explicit StateLock(Descriptor directory) : directory_(std::move(directory)) {}
  Descriptor directory_;
};

// `wish`, or with ublk::kAnyId the lowest one from `first` on that no device has. EEXIST: taken.
Result<uint32_t> free_id(uint32_t wish, uint32_t first);

}  // namespace sluice
