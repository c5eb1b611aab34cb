// Target nbd when its server goes: what waits, what is repeated, and what is reported as lost.
#include <sys/socket.h>

#include <future>

#include "core/events.hpp"
#include "unit/target/nbd/nbd_rig.hpp"

namespace sluice::nbd::test {
namespace {

using namespace std::chrono_literals;

using NbdReconnectTest = NbdTargetTest;

// The first connection ends when it is asked this way for the first time, without an answer.
NbdTargetTest::Script dies_at(HonestDisk& disk, Command command) {
  return [&disk, command](NbdPeer& peer) {
    while (const auto asked = peer.next()) {
      if (asked->header.command == command) return;
      disk.serve(peer, *asked);
    }
  };
}

// It acknowledges a write, and ends.
NbdTargetTest::Script dies_after_write(HonestDisk& disk) {
  return [&disk](NbdPeer& peer) {
    while (const auto asked = peer.next()) {
      disk.serve(peer, *asked);
      if (asked->header.command == Command::write) return;
    }
  };
}

// T2.16: no error at the first hiccup.
TEST_F(NbdReconnectTest, WhatHadNoAnswerIsRepeated) {
  script({dies_at(disk, Command::write), honest()});
  serve_remote("reconnect=20s");
  auto client = this->client();
  const auto data = bytes_of(65536, 1);
  EXPECT_EQ(client.write(4096, data), 0);
  EXPECT_EQ(client.read(4096, data.size()).data, data);
  EXPECT_EQ(number("reconnects"), 1U);
  EXPECT_EQ(number("repeated_requests"), 1U);
  EXPECT_EQ(health().state, HealthState::ok);
}

// The acknowledged write was in the memory of a server that is gone.
TEST_F(NbdReconnectTest, WritesThatWereNotFlushedMakeTheNextFlushFail) {
  script({dies_at(disk, Command::read), honest()});
  serve_remote("reconnect=20s");
  auto client = this->client();
  EXPECT_EQ(client.write(0, bytes_of(4096, 1)), 0);
  EXPECT_EQ(client.read(0, 4096).error, 0);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, EIO);
}

TEST_F(NbdReconnectTest, AFlushThatWasOnItsWayFailsAsWell) {
  script({dies_at(disk, Command::flush), honest()});
  serve_remote("reconnect=20s");
  auto client = this->client();
  EXPECT_EQ(client.write(0, bytes_of(4096, 1)), 0);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, EIO);
}

TEST_F(NbdReconnectTest, NothingIsLostThatWasFlushedOrDurableByItself) {
  script({dies_at(disk, Command::read), honest()});
  serve_remote("reconnect=20s");
  auto client = this->client();
  EXPECT_EQ(client.write(0, bytes_of(4096, 1)), 0);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
  EXPECT_EQ(client.write(4096, bytes_of(4096, 2), kFua), 0);
  EXPECT_EQ(client.read(0, 4096).error, 0);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
}

TEST_F(NbdReconnectTest, AServerMachineThatIsTrustedKeepsWhatWasWritten) {
  script({dies_at(disk, Command::read), honest()});
  serve_remote("reconnect=20s, reconnect-trust=process");
  auto client = this->client();
  EXPECT_EQ(client.write(0, bytes_of(4096, 1)), 0);
  EXPECT_EQ(client.read(0, 4096).error, 0);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
}

// All flushes that are under way at the loss are told of it.
TEST_F(NbdReconnectTest, NoFlushUnderWayIsTakenForASuccess) {
  script({[this](NbdPeer& peer) {
            int flushes = 0;
            while (const auto asked = peer.next()) {
              if (asked->header.command != Command::flush) {
                disk.serve(peer, *asked);
              } else if (++flushes == 2) {
                return;
              }
            }
          },
          honest()});
  serve_remote("reconnect=20s");
  auto one = this->client();
  auto two = this->client();
  EXPECT_EQ(one.write(0, bytes_of(4096, 1)), 0);
  one.ask({.command = Command::flush, .cookie = 1});
  two.ask({.command = Command::flush, .cookie = 2});
  EXPECT_EQ(one.reply()->error, EIO);
  EXPECT_EQ(two.reply()->error, EIO);
}

// An acknowledged write counts before its client can flush, whichever queue it came from.
TEST_F(NbdReconnectTest, WritesOfAllQueuesCount) {
  auto single = facts();
  single.flags &= static_cast<uint16_t>(~kCanMultiConn);
  for (int round = 0; round < 20; ++round) {
    if (round != 0) TearDown();
    script({dies_after_write(disk), honest()}, single);
    serve_remote("reconnect=20s", 2);
    auto one = this->client();
    auto two = this->client();
    NbdClient& writer = round % 2 == 0 ? one : two;
    EXPECT_EQ(writer.write(0, bytes_of(4096, 1)), 0);
    EXPECT_EQ(writer.command(Command::flush, 0, 0).error, EIO) << round;
  }
}

// A flush at one of them covers all only while they are at the same server.
TEST_F(NbdReconnectTest, ConnectionsAreLostTogether) {
  script({dies_at(disk, Command::read), honest()});
  serve_remote("reconnect=20s, connections=3");
  auto client = this->client();
  EXPECT_EQ(client.write(0, bytes_of(4096, 1)), 0);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
  EXPECT_TRUE(soon([&] {  // each one when it is used next
    for (uint64_t i = 0; i < 8; ++i) {
      client.ask({.command = Command::read, .cookie = i, .offset = 0, .length = 65536});
    }
    for (int i = 0; i < 8; ++i) EXPECT_EQ(client.reply()->error, 0);
    return number("reconnects") == 3;
  }));
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
}

// T2.19.
TEST_F(NbdReconnectTest, SeveralConnectionsNeedThePromiseThatTheyAgree) {
  script({dies_at(disk, Command::read), honest()});
  serve_remote("reconnect=20s, connections=2");
  auto client = this->client();
  auto single = facts();
  single.flags &= static_cast<uint16_t>(~kCanMultiConn);
  server->change(single);
  EXPECT_TRUE(soon([&] { return client.read(0, 4096).error == EIO; }));
  EXPECT_NE(health().reason.find("CAN_MULTI_CONN"), std::string::npos) << health().reason;
}

// T2.16: a connection that is cut while nobody waits is no trouble, however often.
TEST_F(NbdReconnectTest, IdleConnectionsMayBeCut) {
  script({honest()});
  serve_remote("reconnect=300ms");
  auto client = this->client();
  for (uint64_t round = 1; round <= 3; ++round) {
    server->drop();
    EXPECT_TRUE(soon([&] { return number("reconnects") == round; }));
    std::this_thread::sleep_for(400ms);
  }
  server->drop();
  EXPECT_EQ(client.read(0, 512).error, 0);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
}

// What the server does not survive ends, and others go on.
TEST_F(NbdReconnectTest, ARequestThatKillsEachServerFails) {
  script({[this](NbdPeer& peer) {
    while (const auto asked = peer.next()) {
      if (asked->header.command == Command::read && asked->header.offset == 0) return;
      disk.serve(peer, *asked);
    }
  }});
  serve_remote("reconnect=500ms, timeout=500ms");
  auto client = this->client();
  client.ask({.command = Command::read, .cookie = 77, .offset = 0, .length = 512});
  std::optional<NbdClient::Reply> reply;
  for (int i = 0; i < 500 && (!reply || reply->cookie != 77); ++i) {
    client.ask({.command = Command::read, .cookie = 1, .offset = 4096, .length = 512});
    reply = client.reply();
    ASSERT_TRUE(reply);
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(reply->cookie, 77U);
  EXPECT_EQ(reply->error, EIO);
  EXPECT_TRUE(soon([&] { return client.read(4096, 512).error == 0; }));
}

// Requests wait for the server, then they fail, and then it is back.
TEST_F(NbdReconnectTest, RequestsFailOnlyAfterTheTimeForReconnecting) {
  script({honest()});
  serve_remote("reconnect=500ms");
  auto client = this->client();
  EXPECT_EQ(client.read(0, 512).error, 0);
  server->end();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(client.read(0, 512).error, EIO);
  const auto first = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(first, 400ms);
  EXPECT_EQ(client.read(0, 512).error, EIO);
  EXPECT_EQ(health().state, HealthState::failed);
  script({honest()});
  EXPECT_TRUE(soon([&] { return client.read(0, 512).error == 0; }));
  EXPECT_EQ(health().state, HealthState::ok);
}

TEST_F(NbdReconnectTest, TheNextServerIsTried) {
  script({dies_at(disk, Command::read)});
  HonestDisk copy;
  ScriptedNbdServer second(directory.path("second.sock"), facts(),
                           {[&](NbdPeer& peer) { copy(peer); }});
  std::ranges::copy(bytes_of(4096, 5), copy.bytes().begin());
  serve("nbd(nbd+unix:///?socket=" + remote +
        ", nbd+unix:///?socket=" + directory.path("second.sock") + ", reconnect=20s)");
  auto client = this->client();
  std::promise<void> asked;
  std::jthread ends([&] {
    asked.get_future().wait();
    server->end();
  });
  EXPECT_TRUE(soon([&] { return server->connections() == 1; }));
  asked.set_value();
  EXPECT_EQ(client.read(0, 4096).data, bytes_of(4096, 5));
  session->end();
  session.reset();
  stack.reset();
  second.end();
}

// A server that takes requests and says nothing.
TEST_F(NbdReconnectTest, ASilentServerIsLeftAfterTheTimeout) {
  script({[this](NbdPeer& peer) {
            while (const auto asked = peer.next()) {
              if (asked->header.command != Command::read) disk.serve(peer, *asked);
            }
          },
          honest()});
  serve_remote("reconnect=10s, timeout=200ms");
  auto client = this->client();
  EXPECT_EQ(client.read(0, 4096).error, 0);
  EXPECT_GE(number("reconnects"), 1U);
}

// One that answers all but one request.
TEST_F(NbdReconnectTest, ARequestThatStarvesIsRepeatedElsewhere) {
  script({[this](NbdPeer& peer) {
            while (const auto asked = peer.next()) {
              const bool starves =
                  asked->header.command == Command::read && asked->header.offset == 0;
              if (!starves) disk.serve(peer, *asked);
            }
          },
          honest()});
  serve_remote("reconnect=10s, timeout=300ms");
  auto client = this->client();
  client.ask({.command = Command::read, .cookie = 77, .offset = 0, .length = 512});
  std::optional<NbdClient::Reply> reply;
  for (int i = 0; i < 1000 && (!reply || reply->cookie != 77); ++i) {
    client.ask({.command = Command::read, .cookie = 1, .offset = 4096, .length = 512});
    reply = client.reply();
    ASSERT_TRUE(reply);
    std::this_thread::sleep_for(2ms);
  }
  EXPECT_EQ(reply->cookie, 77U);
  EXPECT_EQ(reply->error, 0);
  EXPECT_GE(number("reconnects"), 1U);
}

struct Weaker {
  const char* what;
  ScriptedNbdServer::Facts facts;
};
struct NbdWeakerTest : NbdTargetTest, testing::WithParamInterface<Weaker> {};

// T2.19: the export that comes back is not the one that was promised.
TEST_P(NbdWeakerTest, AWeakerExportFailsTheDevice) {
  script({dies_at(disk, Command::read), honest()});
  serve_remote("reconnect=20s");
  auto client = this->client();
  server->change(GetParam().facts);
  EXPECT_EQ(client.read(0, 4096).error, EIO);
  EXPECT_EQ(client.write(0, bytes_of(4096, 1)), EIO);
  EXPECT_EQ(health().state, HealthState::failed);
  EXPECT_NE(health().reason.find(GetParam().what), std::string::npos) << health().reason;
}

constexpr uint16_t kAll = ScriptedNbdServer::Facts{}.flags;
INSTANTIATE_TEST_SUITE_P(
    Kinds, NbdWeakerTest,
    testing::Values(Weaker{"has 2097152 bytes now", {.size = kSize / 2}},
                    Weaker{"is read-only now", {.size = kSize, .flags = kAll | kReadOnly}},
                    Weaker{"cannot flush", {.size = kSize, .flags = kAll & ~kSendFlush}},
                    Weaker{"durably", {.size = kSize, .flags = kAll & ~kSendFua}},
                    Weaker{"cannot trim", {.size = kSize, .flags = kAll & ~kSendTrim}},
                    Weaker{"has blocks of 4096", {.size = kSize, .block_sizes = {.minimum = 4096}}},
                    Weaker{"takes 65536", {.size = kSize, .block_sizes = {.payload_max = 65536}}}));

TEST_F(NbdReconnectTest, AStrongerExportIsWelcome) {
  script({dies_at(disk, Command::read), honest()});
  serve_remote("reconnect=20s");
  auto client = this->client();
  server->change({.size = 2 * kSize, .flags = kAll | kSendCache});
  EXPECT_EQ(client.read(0, 4096).error, 0);
}

// T2.17, T2.18: the end does not wait for the server.
TEST_F(NbdReconnectTest, TheEndIsBoundedWhileTheServerIsAway) {
  script({honest()});
  serve_remote("reconnect=60s");
  server->end();
  {
    auto client = this->client();
    client.ask({.command = Command::flush, .cookie = 1});
    EXPECT_TRUE(soon([&] { return health().state == HealthState::degraded; }));
  }
}

TEST_F(NbdReconnectTest, TheEndIsBoundedUnderASilentServer) {
  script({[](NbdPeer& peer) {
    while (peer.next()) {
    }
  }});
  serve_remote("reconnect=300ms, timeout=200ms");
  auto client = this->client();
  EXPECT_EQ(client.read(0, 512).error, EIO);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(session->end());
  session.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
}

// --- Before the device exists.

TEST_F(NbdReconnectTest, WithoutAServerNothingIsOpened) {
  EXPECT_EQ(sluice::test::open_error(spec()),
            "cannot use nbd+unix:///?socket=" + remote + ": No such file or directory");
}

// T2.9: at whichever byte of the handshake the server dies.
TEST_F(NbdReconnectTest, AServerThatDiesInTheHandshakeIsReported) {
  const Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
  remote.copy(name.sun_path, sizeof(name.sun_path) - 1);
  ASSERT_EQ(bind(listener.number(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  ASSERT_EQ(listen(listener.number(), 4), 0);
  std::vector<std::byte> greeting;
  ServerHandshake::greet(greeting);
  std::jthread dies([&] {
    for (size_t bytes = 0; bytes <= greeting.size(); ++bytes) {
      const Descriptor client(accept(listener.number(), nullptr, nullptr));
      send(client.number(), greeting.data(), bytes, MSG_NOSIGNAL);
    }
  });
  for (size_t bytes = 0; bytes <= greeting.size(); ++bytes) {
    EXPECT_NE(sluice::test::open_error(spec()), "") << bytes;
  }
}

// --- Several connections.

TEST_F(NbdReconnectTest, EachQueueHasConnectionsIfTheServerAllowsThem) {
  script({honest()});
  serve_remote("connections=2", 2);
  EXPECT_TRUE(soon([&] { return number("connections") == 4; })) << number("connections");
  auto client = this->client();
  EXPECT_EQ(client.write(0, bytes_of(65536, 1)), 0);
  EXPECT_EQ(client.read(0, 65536).data, bytes_of(65536, 1));
}

TEST_F(NbdReconnectTest, AllQueuesShareTheOnlyConnection) {
  auto facts = NbdTargetTest::facts();
  facts.flags &= static_cast<uint16_t>(~kCanMultiConn);
  script({honest()}, facts);
  serve_remote("connections=4", 3);
  EXPECT_EQ(server->connections(), 1);
  std::vector<NbdClient> clients;
  for (int i = 0; i < 6; ++i) clients.push_back(this->client());  // several at each queue
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(clients[i].write(i * 65536, bytes_of(65536, static_cast<int>(i))), 0);
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    const size_t other = clients.size() - 1 - i;
    EXPECT_EQ(clients[i].read(other * 65536, 65536).data, bytes_of(65536, static_cast<int>(other)));
  }
  EXPECT_EQ(number("connections"), 1U);
  EXPECT_EQ(server->connections(), 1);
}

}  // namespace
}  // namespace sluice::nbd::test
