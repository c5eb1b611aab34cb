// NbdExport: clients that go, or are slow, while it is handed over.
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "unit/frontend/nbd/handover_rig.hpp"

namespace sluice::nbd::test {
namespace {

// The export that ends with its last client ends in whichever server goes on.
TEST_F(NbdHandoverTest, TheLastClientMayGoInAPause) {
  for (const bool hands_over : {false, true}) {
    begin_until_deserted();
    {
      NbdClient one = client();
      EXPECT_EQ(one.read(0, 1).error, 0);
      // In the middle of a payload, so that the pause notices its end.
      one.ask({.command = Command::write, .cookie = 2, .length = 100});
      prepare_next();
      ASSERT_TRUE(session->frontend().pause());
    }
    session->wait_for_pause();
    EXPECT_FALSE(session->frontend().has_ended());
    if (hands_over) {
      move();
    } else {
      next.reset();
      ASSERT_TRUE(session->frontend().resume());
    }
    session->wait_for_end();
    EXPECT_TRUE(session->frontend().remove());
    session.reset();
  }
}

// However slowly it takes its replies.
TEST_F(NbdHandoverTest, ASlowClientIsNoHindrance) {
  begin("null(64M)");
  NbdClient one = client();
  constexpr uint64_t kCount = 8;
  constexpr uint64_t kLength = 8 << 20;
  for (uint64_t i = 0; i < kCount; ++i) one.ask({.cookie = i, .length = kLength});
  prepare_next();
  ASSERT_TRUE(session->frontend().pause());
  std::thread reader([&] {
    for (uint64_t i = 0; i < kCount; ++i) {
      usleep(700'000);
      const auto reply = one.reply();
      ASSERT_TRUE(reply) << i;
      EXPECT_EQ(reply->data.size(), kLength);
    }
  });
  session->wait_for_pause();
  move();
  reader.join();
  EXPECT_EQ(one.read(0, 1).error, 0);
}

}  // namespace
}  // namespace sluice::nbd::test
