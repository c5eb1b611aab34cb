// NbdExport that ends when its last client has gone.
#include <gtest/gtest.h>

#include <filesystem>

#include "unit/frontend/nbd/export_rig.hpp"

namespace sluice::nbd::test {
namespace {

struct NbdDesertedTest : NbdExportTest {
  void serve_until_deserted(uint16_t queues) {
    stack = std::move(*sluice::test::open_stack("mem:4M", false));
    ASSERT_TRUE(stack->start());
    auto made = NbdExport::make(*stack, {.addresses = {*ListenAddress::parse("unix:" + path)},
                                         .name = "disk",
                                         .queues = queues,
                                         .depth = 8,
                                         .until_deserted = true});
    ASSERT_TRUE(made) << made.error().text;
    auto started = Session<NbdExport>::start(std::move(*made));
    ASSERT_TRUE(started) << started.error().text;
    session = std::move(*started);
  }
  void expect_end() {
    session->wait_for_end();
    EXPECT_TRUE(session->frontend().remove());
    EXPECT_FALSE(std::filesystem::exists(path));
    session.reset();
  }
};

TEST_F(NbdDesertedTest, TheLastClientEndsTheExport) {
  serve_until_deserted(1);
  EXPECT_EQ(client().read(0, 512).error, 0);
  expect_end();
}

TEST_F(NbdDesertedTest, OneThatBreaksOffEndsItToo) {
  serve_until_deserted(1);
  client().ask({.command = Command::read, .length = 1 << 20});
  expect_end();
}

TEST_F(NbdDesertedTest, ClientsThatAreLeftKeepIt) {
  serve_until_deserted(3);
  {
    std::vector<NbdClient> clients;
    for (int i = 0; i < 5; ++i) clients.push_back(client());
    while (clients.size() > 1) {
      clients.pop_back();
      EXPECT_EQ(clients.front().read(0, 512).error, 0);
      EXPECT_FALSE(session->frontend().has_ended());
    }
  }
  expect_end();
}

// Somebody who only looks whether there is a server, or what it exports, is no client.
TEST_F(NbdDesertedTest, AHandshakeThatIsNotFinishedDoesNotCount) {
  serve_until_deserted(2);
  for (int i = 0; i < 20; ++i) {
    const NbdClient one(path);
    if (i % 2 == 0) one.send_bytes(bytes_of(4, i));
  }
  EXPECT_EQ(client().read(0, 512).error, 0);
  expect_end();
}

TEST_F(NbdDesertedTest, WithoutClientsItStays) {
  serve_until_deserted(1);
  EXPECT_TRUE(session->end());
  session.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace sluice::nbd::test
