// HandoverDesk: where a device's control thread and its control socket's thread meet while the
// device changes hands.
//
//   idle -> requested -> offered -> wanted back, and idle again
//
// Owned by the Device.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "core/error.hpp"
#include "frontend/handover.hpp"

namespace sluice {

class HandoverDesk {
 public:
  // --- The side of those who ask.
  // EBUSY: another handover is under way.
  Result<void> request();
  // Waits until the control thread has let go. ETIMEDOUT: it takes too long.
  Result<Handover> collect(std::chrono::milliseconds limit);
  // EINVAL: nothing was handed over.
  Result<void> want_back();

  // --- The side of the control thread.
  bool requested() const;
  // From request() to close().
  bool busy() const;
  void offer(Result<Handover> handover);
  // Waits; true as soon as the device is wanted back.
  bool wanted_back(std::chrono::milliseconds limit);
  // The device is served here, and nobody is waiting.
  void close();

 private:
  enum class State : uint8_t { idle, requested, offered, wanted_back };

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::idle;
  std::optional<Result<Handover>> offered_;
};

}  // namespace sluice
