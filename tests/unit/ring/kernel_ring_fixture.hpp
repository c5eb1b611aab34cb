// The fixture of tests on the kernel's io_uring. They skip if there is none (P-22).
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "ring/kernel_ring.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {

class OnKernelRing : public testing::Test {
 protected:
  static constexpr uint32_t kSlots = 8;

  void SetUp() override { open({.entries = 64, .slots = kSlots}); }

  void open(const KernelRing::Options& options) {
    auto made = KernelRing::create(options);
    if (!made && (made.error().error == ENOSYS || made.error().error == EPERM)) {
      GTEST_SKIP() << made.error().text;
    }
    ASSERT_TRUE(made) << made.error().text;
    ring_ = std::move(*made);
  }

  // Ends the ring with all operations in flight.
  void close() { ring_.reset(); }

  KernelRing& ring() { return *ring_; }

  // Runs the ring until the operation has ended; returns its errno.
  int finish(const Started& started) {
    while (!started.finished()) ring_->run_once(true);
    return started.error();
  }

  // Runs the ring until it can only wait for external events.
  void settle() {
    for (int i = 0; i < 20; ++i) ring_->run_once(false);
  }

 private:
  std::unique_ptr<KernelRing> ring_;
};

}  // namespace sluice::test
