// The fixture of tests on timeouts: operations that wait, and a timer that expires when the test
// says.
#pragma once

#include <gtest/gtest.h>

#include <chrono>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/timed.hpp"

namespace sluice::test {

class TimeoutTest : public testing::Test {
 protected:
  Timed::Make receiving() {
    return [this](Request& request) { return request.ring->recv({.number = 5}, view_); };
  }
  static Timed::Make syncing() {
    return [](Request& request) { return request.ring->sync({.number = 6}, true); };
  }

  // The index of the first SQE of this kind; npos: none.
  static constexpr size_t npos = SIZE_MAX;
  static size_t find(const ManualRing& ring, uint8_t opcode) {
    for (size_t i = 0; i < ring.pending(); ++i) {
      if (ring.sqe(i).opcode == opcode) return i;
    }
    return npos;
  }
  size_t find(uint8_t opcode) const { return find(ring_, opcode); }
  void go_off() { ring_.complete(find(IORING_OP_TIMEOUT), -ETIME); }
  static std::chrono::nanoseconds time_of(const io_uring_sqe& sqe, uint64_t address) {
    EXPECT_NE(sqe.timeout_flags & IORING_TIMEOUT_ABS, 0U);
    const auto* const time = reinterpret_cast<const __kernel_timespec*>(address);
    return std::chrono::seconds(time->tv_sec) + std::chrono::nanoseconds(time->tv_nsec);
  }
  static std::chrono::nanoseconds from_now(std::chrono::nanoseconds time) {
    return time - std::chrono::nanoseconds(Deadlines::Clock::now().time_since_epoch());
  }

  Bytes memory_ = repeated(4096, 0);
  Lent lent_{Direction::destination, memory_};
  View view_ = lent_.loan.view();
  ManualRing ring_;
};

}  // namespace sluice::test
