// Status: the result of one block I/O, or of one step of it: success, or a positive errno.
//
// Four bytes, returned by value on the data path. Success means that *all* bytes were moved: there
// is no short success anywhere above the ring.
#pragma once

#include <cerrno>
#include <cstdint>

namespace sluice {

class [[nodiscard]] Status {
 public:
  constexpr Status() = default;

  // `error` is a positive errno; 0 means success.
  static constexpr Status from_errno(int error) { return Status(error); }
  // `result` is that of a CQE: a negative errno is an error, anything else success.
  static constexpr Status from_result(int64_t result) {
    return Status(result < 0 ? static_cast<int>(-result) : 0);
  }

  constexpr bool ok() const { return errno_ == 0; }
  // Invalid or out of space: an error that does not affect acknowledged data.
  constexpr bool refused() const {
    return errno_ == EINVAL || errno_ == EROFS || errno_ == ENOSPC || errno_ == EDQUOT;
  }
  // Any other error: acknowledged data may be lost (Stack).
  constexpr bool failed() const { return !ok() && !refused(); }
  // Positive errno, or 0 for success.
  constexpr int error() const { return errno_; }

  friend constexpr bool operator==(Status, Status) = default;

 private:
  explicit constexpr Status(int error) : errno_(error) {}

  int32_t errno_ = 0;
};

inline constexpr Status kOk{};

// Logs the exception that is being handled, and returns EIO. Call it only in a handler.
Status status_of_exception() noexcept;

}  // namespace sluice
