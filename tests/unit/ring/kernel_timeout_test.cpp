// Timeout on the kernel's io_uring: real clocks, real cancellations.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "ring/timeout.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"
#include "unit/ring/timed.hpp"

namespace sluice::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

class KernelTimeoutTest : public OnKernelRing {
 protected:
  Timed::Make receiving(uint32_t offset = 0, uint32_t length = 4096) {
    return [this, offset, length](Request& request) {
      return request.ring->recv(file_of(pair_.far), lent_.loan.view(offset, length));
    };
  }
  int end_of(const Timed& timed) {
    while (!timed.finished()) ring().run_once(true);
    return timed.error();
  }

  Pair pair_ = stream_sockets();
  Bytes memory_ = Bytes(4096);
  Lent lent_{Direction::destination, memory_};
};

TEST_F(KernelTimeoutTest, AParkedReceiveEndsInTime) {
  const auto begin = Deadlines::Clock::now();
  const Timed timed(ring(), milliseconds(30), receiving());
  EXPECT_EQ(end_of(timed), ETIMEDOUT);
  EXPECT_GE(Deadlines::Clock::now() - begin, milliseconds(30));
  EXPECT_EQ(lent_.loan.references(), 1U) << "the lender alone holds it";
}

TEST_F(KernelTimeoutTest, APartlyFilledReceiveEndsInTime) {
  const Timed timed(ring(), milliseconds(30), receiving());
  ASSERT_EQ(write(pair_.near.number(), memory_.data(), 100), 100);
  EXPECT_EQ(end_of(timed), ETIMEDOUT);
}

TEST_F(KernelTimeoutTest, ASendToAPeerThatDoesNotReadEndsInTime) {
  Bytes much = Bytes(16 << 20);
  Lent source(Direction::source, much);
  const Timed timed(ring(), milliseconds(30), [&](Request& request) {
    return request.ring->send(file_of(pair_.near), source.loan.view());
  });
  EXPECT_EQ(end_of(timed), ETIMEDOUT);
}

TEST_F(KernelTimeoutTest, TheEarliestOfManyComesFirst) {
  const Timed late(ring(), hours(1), receiving(0, 100));
  const Timed soon(ring(), milliseconds(40), receiving(100, 100));
  const Timed sooner(ring(), milliseconds(20), receiving(200, 100));
  EXPECT_EQ(end_of(sooner), ETIMEDOUT);
  EXPECT_EQ(soon.error(), -1);
  EXPECT_EQ(end_of(soon), ETIMEDOUT);
  EXPECT_EQ(late.error(), -1);
  ASSERT_EQ(write(pair_.near.number(), memory_.data(), 100), 100);
  EXPECT_EQ(end_of(late), 0);
  ring().stop();
  ring().run();  // the timer of one hour is still set
}

TEST_F(KernelTimeoutTest, MoreThanTheRingHoldsEndInTime) {
  open({.entries = 4, .cq_entries = 8});
  std::vector<std::unique_ptr<Timed>> all;
  for (int i = 0; i < 50; ++i) {
    all.push_back(std::make_unique<Timed>(ring(), milliseconds(20), receiving()));
  }
  for (const auto& timed : all) EXPECT_EQ(end_of(*timed), ETIMEDOUT);
  EXPECT_FALSE(ring().waiting());
}

// Replies arrive at about the time at which the waits for them expire.
TEST_F(KernelTimeoutTest, ItRacesWithTheEnd) {
  int timed_out = 0;
  for (int round = 0; round < 100; ++round) {
    pair_ = stream_sockets();
    const Timed timed(ring(), std::chrono::microseconds(200), receiving());
    std::thread peer([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(100 + round % 20 * 10));
      EXPECT_EQ(write(pair_.near.number(), memory_.data(), 2048), 2048);
      EXPECT_EQ(write(pair_.near.number(), memory_.data(), 2048), 2048);
    });
    const int error = end_of(timed);
    peer.join();
    EXPECT_TRUE(error == 0 || error == ETIMEDOUT) << error;
    if (error == 0) EXPECT_EQ(timed.moved_bytes(), 4096U);
    timed_out += error != 0 ? 1 : 0;
  }
  RecordProperty("timed_out", timed_out);
}

TEST_F(KernelTimeoutTest, ARingMayEndWithItsTimerSet) {
  {
    const Timeout timeout(ring(), hours(1));
  }
  ring().run_once(false);
  close();
}

}  // namespace
}  // namespace sluice::test
