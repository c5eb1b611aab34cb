// SEND_ZC: the result reports the bytes sent, the notification that the pages are free again
// (P-10).
#include <gtest/gtest.h>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

class SendZcTest : public testing::Test {
 protected:
  Started start() {
    return {ring_, lent_.loan.view(), [](Request& request) {
              return request.ring->send_zc({.number = 5}, std::move(request.data));
            }};
  }

  ManualRing ring_;
  Bytes memory_ = pattern(4096, 1);
  Lent lent_{Direction::source, memory_};
};

TEST_F(SendZcTest, TheResultDoesNotEndIt) {
  const Started sending = start();
  ring_.settle();
  ring_.complete(0, 4096, IORING_CQE_F_MORE);
  EXPECT_FALSE(sending.finished());
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(sending.error(), 0);
  EXPECT_EQ(sending.moved_bytes(), 4096U);
}

TEST_F(SendZcTest, TheReferenceEndsAtTheNotification) {
  const Started sending = start();
  lent_.close();
  ring_.settle();
  ring_.complete(0, 4096, IORING_CQE_F_MORE);
  EXPECT_EQ(lent_.loan.references(), 1U);
  EXPECT_EQ(lent_.returned_count(), 0);
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(lent_.returned_count(), 1);
}

TEST_F(SendZcTest, WithoutANotificationTheResultEndsIt) {
  const Started sending = start();
  ring_.settle();
  ring_.complete(0, 4096);
  EXPECT_EQ(sending.error(), 0);
}

TEST_F(SendZcTest, AShortOneGoesOnAfterItsNotification) {
  const Started sending = start();
  ring_.settle();
  ring_.complete(0, 1000, IORING_CQE_F_MORE);
  EXPECT_EQ(ring_.pending(), 1U) << "the old one, no new one";
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_SEND_ZC);
  EXPECT_EQ(ring_.sqe(0).addr, reinterpret_cast<uint64_t>(memory_.data()) + 1000);
  ring_.complete(0, 3096, IORING_CQE_F_MORE);
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(sending.error(), 0);
}

TEST_F(SendZcTest, AnErrorWithoutANotificationEndsItAtOnce) {
  const Started sending = start();
  ring_.settle();
  ring_.complete(0, -EOPNOTSUPP);
  EXPECT_EQ(sending.error(), EOPNOTSUPP);
}

TEST_F(SendZcTest, AnErrorWithANotificationWaitsForIt) {
  const Started sending = start();
  lent_.close();
  ring_.settle();
  ring_.complete(0, -EPIPE, IORING_CQE_F_MORE);
  EXPECT_FALSE(sending.finished());
  EXPECT_EQ(lent_.returned_count(), 0);
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(sending.error(), EPIPE);
  EXPECT_EQ(lent_.returned_count(), 1);
}

TEST_F(SendZcTest, InterruptedItIsRepeatedAfterItsNotification) {
  const Started sending = start();
  ring_.settle();
  ring_.complete(0, -EINTR, IORING_CQE_F_MORE);
  EXPECT_EQ(ring_.pending(), 1U);
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).len, 4096U);
  ring_.complete(0, 4096);
  EXPECT_EQ(sending.error(), 0);
}

TEST_F(SendZcTest, ItsPlaceInTheCompletionQueueIsFreeAfterTheNotification) {
  const Started sending = start();
  ring_.settle();
  ring_.complete(0, 4096, IORING_CQE_F_MORE);
  EXPECT_EQ(ring_.in_flight(), 1U);
  ring_.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(ring_.in_flight(), 0U);
}

}  // namespace
}  // namespace sluice::test
