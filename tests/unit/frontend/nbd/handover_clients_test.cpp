// NbdExport: clients that go, or are slow, while it is handed over.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
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

// A handshake goes on in the next server, wherever in its messages it is, and nobody waits for it.
TEST_F(NbdHandoverTest, AHandshakeGoesOn) {
  begin("mem:4M", 2);
  const auto begun = std::chrono::steady_clock::now();
  size_t all = SIZE_MAX;
  size_t cut = 0;
  for (; cut < all; cut += cut < 6 ? 1 : 9) {
    NbdClient one(path);
    size_t sent = 0;
    const auto send = [&](Bytes bytes) {
      const bool is_cut = cut >= sent && cut < sent + bytes.size();
      const size_t before = is_cut ? cut - sent : bytes.size();
      one.send_bytes(bytes.first(before));
      if (is_cut && cut % 2 == 0) usleep(2000);
      if (is_cut) hand_over();
      one.send_bytes(bytes.subspan(before));
      sent += bytes.size();
    };
    ASSERT_EQ(one.shake_hands({.export_name = "disk"}, send), "") << cut;
    all = sent;
    EXPECT_EQ(one.agreed().size, kSize);
    EXPECT_EQ(one.agreed().headers, Headers::extended);
    ASSERT_EQ(one.read(0, 512).error, 0) << cut;
    EXPECT_EQ(one.command(Command::block_status, 0, 4096).extents.size(), 1U) << cut;
  }
  EXPECT_GT(cut, 60U);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
}

// Also where the handover fails, and when its time is over.
TEST_F(NbdHandoverTest, AHandshakeGoesOnWhereItWas) {
  begin("mem:4M");
  NbdClient one(path);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(session->frontend().pause());
    if (i % 2 == 0) session->wait_for_pause();
    ASSERT_TRUE(session->frontend().resume());
  }
  EXPECT_EQ(one.shake_hands({.export_name = "disk"}), "");
  EXPECT_EQ(one.read(0, 512).error, 0);
  const NbdClient silent(path);
  usleep(10'000);
  pause();
  EXPECT_TRUE(session->end());
  session.reset();
  EXPECT_TRUE(silent.is_closed());
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
