// Target nbd at the end of its device: a server that is silent is not waited for, one that answers
// is.
#include <atomic>

#include "unit/target/nbd/nbd_rig.hpp"

namespace sluice::nbd::test {
namespace {

using namespace std::chrono_literals;

struct NbdEndTest : NbdTargetTest {
  // Takes requests, and says nothing until the end of the test.
  Script silent(Command from = Command::read) {
    return [this, from](NbdPeer& peer) {
      while (const auto asked = peer.next()) {
        if (asked->header.command != from) {
          disk.serve(peer, *asked);
          continue;
        }
        while (!over) std::this_thread::sleep_for(10ms);
        return;
      }
    };
  }
  void TearDown() override {
    over = true;
    NbdTargetTest::TearDown();
  }

  std::atomic<bool> over = false;
};

TEST_F(NbdEndTest, ASilentServerIsNotWaitedFor) {
  for (const char* const options : {"", "connections=2"}) {
    script({silent()});
    serve_remote(options);
    auto client = this->client();
    client.ask({.command = Command::read, .cookie = 1, .length = 4096});
    client.ask({.command = Command::read, .cookie = 2, .length = 65536});
    std::this_thread::sleep_for(50ms);
    note_end_of(stack->root());
    EXPECT_EQ(client.reply()->error, EIO);
    EXPECT_EQ(client.reply()->error, EIO);
    EXPECT_EQ(client.read(0, 512).error, EIO) << "nobody connects again";
    TearDown();
    over = false;
  }
}

TEST_F(NbdEndTest, NeitherIsAFlush) {
  script({silent(Command::flush)});
  serve_remote();
  auto client = this->client();
  client.ask({.command = Command::flush, .cookie = 1});
  note_end_of(stack->root());
  EXPECT_EQ(client.reply()->error, EIO);
}

TEST_F(NbdEndTest, NorTheRestOfAnAnswer) {
  script({[this](NbdPeer& peer) {
    const auto asked = peer.next();
    auto whole = disk.reply(peer, *asked);
    whole.resize(whole.size() / 2);
    peer.send(whole);
    while (!over) std::this_thread::sleep_for(10ms);
  }});
  serve_remote();
  auto client = this->client();
  client.ask({.command = Command::read, .cookie = 1, .length = 1 << 20});
  std::this_thread::sleep_for(50ms);
  note_end_of(stack->root());
  EXPECT_EQ(client.reply()->error, EIO);
}

TEST_F(NbdEndTest, NorIsTheNextServer) {
  script({[](NbdPeer& peer) { peer.next(); }, silent()});
  serve_remote();
  auto client = this->client();
  client.ask({.command = Command::read, .cookie = 1, .length = 4096});
  ASSERT_TRUE(soon([&] { return server->connections() > 1; }));
  note_end_of(stack->root());
  EXPECT_EQ(client.reply()->error, EIO);
}

// Of ten requests each has its answer 300 ms after the one before.
TEST_F(NbdEndTest, AServerThatAnswersIsWaitedFor) {
  script({[this](NbdPeer& peer) {
    while (const auto asked = peer.next()) {
      std::this_thread::sleep_for(300ms);
      disk.serve(peer, *asked);
    }
  }});
  serve_remote();
  auto client = this->client();
  for (uint64_t i = 0; i < 10; ++i) {
    client.ask({.command = Command::read, .cookie = i, .offset = 512 * i, .length = 512});
  }
  note_end_of(stack->root());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.reply()->error, 0);
}

// Connections that begin later know of it as well.
TEST_F(NbdEndTest, TheLastFlushHasALimit) {
  script({silent(Command::flush)});
  serve_remote();
  {
    auto client = this->client();
    EXPECT_EQ(client.write(0, bytes_of(4096, 1)), 0);
  }
  ASSERT_TRUE(session->end());
  session.reset();
  note_end_of(stack->root());
  const auto began = std::chrono::steady_clock::now();
  stack->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 15s) << "and not 30 s";
}

}  // namespace
}  // namespace sluice::nbd::test
