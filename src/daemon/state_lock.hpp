// StateLock: excludes other processes that use the same state directory from allocating numbers and
// from removing remains of dead servers.
//
// Held by one process at a time, for the lifetime of the value. The locked file exists only
// meanwhile, and only its owner and root can open it.
#pragma once

#include <chrono>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "daemon/state_directory.hpp"

namespace sluice {

class StateLock {
 public:
  // The time to wait for a single holder. A queue of several holders may take longer.
  static constexpr std::chrono::milliseconds kTimeout{20'000};

  // Creates the state directory if missing, and removes incomplete files of killed servers.
  // ETIMEDOUT: a process, which is named, holds the lock too long.
  static Result<StateLock> take(std::chrono::milliseconds timeout = kTimeout);
  StateLock(StateLock&&) = default;
  StateLock& operator=(StateLock&&) = delete;
  ~StateLock();

 private:
  StateLock(StateDirectory directory, Descriptor file)
      : directory_(std::move(directory)), file_(std::move(file)) {}

  StateDirectory directory_;
  Descriptor file_;
};

}  // namespace sluice
