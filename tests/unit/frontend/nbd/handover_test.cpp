// NbdExport: its connections go on in another export, as in another process, or here again.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "unit/frontend/nbd/handover_rig.hpp"

namespace sluice::nbd::test {
namespace {

using testing::HasSubstr;

constexpr Headers kHandedHeaders[] = {Headers::simple, Headers::structured, Headers::extended};

TEST_F(NbdHandoverTest, ConnectionsGoOnAsTheyWere) {
  begin("mem:4M", 2);
  std::vector<NbdClient> clients;
  for (const Headers headers : kHandedHeaders) clients.push_back(client(headers));
  const auto data = bytes_of(100'000, 1);
  ASSERT_EQ(clients[0].write(77, data), 0);
  for (int i = 0; i < 3; ++i) {
    hand_over();
    for (NbdClient& each : clients) {
      EXPECT_EQ(each.read(77, data.size()).data, data);
      EXPECT_EQ(each.command(Command::flush, 0, 0).error, 0);
      if (each.agreed().headers == Headers::simple) continue;
      EXPECT_THAT(each.command(Command::block_status, 0, kSize).extents,
                  testing::Not(testing::IsEmpty()));
    }
    EXPECT_EQ(client().read(77, data.size()).data, data) << "a new one";
  }
  EXPECT_EQ(session->frontend().path(), "nbd+unix:///disk?socket=" + path);
  EXPECT_TRUE(session->end());
  session.reset();
  EXPECT_FALSE(std::filesystem::exists(path)) << "it belonged to the last server";
}

// A part of the stream is received by one server, the rest by the next, wherever the cut is.
TEST_F(NbdHandoverTest, TheStreamMayBeCutAtEveryByte) {
  begin("mem:4M");
  for (const Headers headers : kHandedHeaders) {
    NbdClient one = client(headers);
    const bool extended = headers == Headers::extended;
    std::vector<std::byte> head(extended ? kExtendedRequestBytes : kCompactRequestBytes);
    std::vector<std::byte> stream;
    const auto add = [&](const RequestHeader& request, Bytes payload = {}) {
      write_request(request, headers, head);
      stream.insert(stream.end(), head.begin(), head.end());
      stream.insert(stream.end(), payload.begin(), payload.end());
    };
    const uint16_t with_payload = extended ? kPayloadLength : 0;
    const auto data = bytes_of(9, static_cast<int>(headers) + 1);
    add({.command = Command::flush, .cookie = 1});
    const size_t payload_begin = stream.size() + head.size();
    add({.flags = with_payload, .command = Command::write, .cookie = 2, .offset = 5, .length = 9},
        data);
    const size_t payload_end = stream.size();
    add({.command = Command::flush, .cookie = 3});
    for (size_t cut = 0; cut <= stream.size(); ++cut) {
      ASSERT_EQ(one.command(Command::write_zeroes, 0, 512).error, 0);
      prepare_next();
      one.send_bytes(Bytes(stream).first(cut));
      const bool in_payload = cut >= payload_begin && cut < payload_end;
      const bool rests = cut % 2 == 0;  // the first bytes have been received
      if (rests || in_payload) usleep(2000);
      ASSERT_TRUE(session->frontend().pause());
      if (in_payload) one.send_bytes(Bytes(stream).subspan(cut));
      session->wait_for_pause();
      move();
      if (!in_payload) one.send_bytes(Bytes(stream).subspan(cut));
      uint64_t cookies = 0;
      for (int i = 0; i < 3; ++i) {
        const auto reply = one.reply();
        ASSERT_TRUE(reply) << cut;
        ASSERT_EQ(reply->error, 0) << cut;
        cookies += reply->cookie;
      }
      ASSERT_EQ(cookies, 6U);
      ASSERT_EQ(one.read(5, 9).data, data) << cut;
    }
  }
}

TEST_F(NbdHandoverTest, RequestsThatWaitAreServedOnce) {
  begin("fault(mem(4M), delay=20ms, ops=read)", 2);
  for (const Headers headers : {Headers::structured, Headers::extended}) {
    NbdClient one = client(headers);
    constexpr uint64_t kCount = 60;
    for (uint64_t i = 0; i < kCount; ++i) {
      const std::vector<std::byte> data(512, static_cast<std::byte>(i + 1));
      one.ask({.command = Command::write, .cookie = i, .offset = i * 512, .length = 512}, data);
      one.ask({.command = Command::read, .cookie = 1000 + i, .offset = 1 << 20, .length = 512});
    }
    hand_over();
    std::vector<int> answered(2000);
    for (uint64_t i = 0; i < 2 * kCount; ++i) {
      const auto reply = one.reply();
      ASSERT_TRUE(reply);
      ASSERT_EQ(reply->error, 0);
      ++answered.at(reply->cookie);
      if (i % 50 == 0) hand_over();
    }
    for (uint64_t i = 0; i < kCount; ++i) {
      EXPECT_EQ(answered[i], 1);
      EXPECT_EQ(answered[1000 + i], 1);
      EXPECT_EQ(one.read(i * 512, 1).data.at(0), static_cast<std::byte>(i + 1));
    }
  }
}

// Verified loads on several connections, large READs from the page cache among them.
TEST_F(NbdHandoverTest, UnderLoad) {
  begin("mem:4M", 2);
  std::atomic<bool> over = false;
  std::vector<std::thread> loads;
  for (uint64_t number = 0; number < 4; ++number) {
    loads.emplace_back([&, number] {
      NbdClient one = client(kHandedHeaders[number % 3]);
      const uint64_t begin = number << 20;
      std::vector<std::byte> model(1 << 20);
      ASSERT_EQ(one.command(Command::write_zeroes, begin, model.size()).error, 0);
      std::minstd_rand random(static_cast<unsigned>(number));
      for (int i = 0; !over; ++i) {
        const uint64_t length = 1 + random() % (i % 3 == 0 ? 400'000 : 4000);
        const uint64_t offset = random() % (model.size() - length);
        const auto at = model.begin() + static_cast<ptrdiff_t>(offset);
        if (i % 2 == 0) {
          const auto data = bytes_of(length, i);
          ASSERT_EQ(one.write(begin + offset, data), 0);
          std::ranges::copy(data, at);
        } else {
          const auto reply = one.read(begin + offset, length);
          ASSERT_EQ(reply.error, 0);
          ASSERT_TRUE(std::ranges::equal(reply.data, std::span(&*at, length)));
        }
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    usleep(10'000);
    hand_over();
  }
  over = true;
  for (std::thread& each : loads) each.join();
}

TEST_F(NbdHandoverTest, NobodyIsRefused) {
  begin("mem:4M", 3);
  std::atomic<bool> over = false;
  std::vector<std::thread> loads;
  std::atomic<int> served = 0;
  for (int i = 0; i < 3; ++i) {
    loads.emplace_back([&] {
      while (!over) {
        NbdClient one = client();
        ASSERT_EQ(one.read(0, 512).error, 0);
        ++served;
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    usleep(5'000);
    if (i % 3 == 0) {
      pause();
      ASSERT_TRUE(session->frontend().resume());
    } else {
      hand_over();
    }
  }
  over = true;
  for (std::thread& each : loads) each.join();
  EXPECT_GT(served, 20);
}

TEST_F(NbdHandoverTest, FailsAndEverythingGoesOn) {
  begin("mem:4M", 2);
  NbdClient one = client();
  const auto data = bytes_of(5000, 3);
  ASSERT_EQ(one.write(0, data), 0);
  std::vector<std::byte> head(kExtendedRequestBytes);
  write_request({.cookie = 9, .length = 5000}, Headers::extended, head);
  for (int i = 0; i < 5; ++i) {
    prepare_next();
    one.send_bytes(Bytes(head).first(11));
    pause();
    const NbdClient newcomer(path);
    auto handover = session->frontend().let_go();
    ASSERT_TRUE(handover);
    if (i % 2 == 0) {  // it dies after it has received all
      ASSERT_TRUE(next_stack->start());
      ASSERT_TRUE(next->frontend().take(std::move(*handover)));
      ASSERT_TRUE(next->frontend().serve());
    }
    next.reset();
    next_stack.reset();
    ASSERT_TRUE(session->frontend().resume());
    one.send_bytes(Bytes(head).subspan(11));
    const auto reply = one.reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->cookie, 9U);
    EXPECT_EQ(reply->data, data);
    EXPECT_TRUE(std::filesystem::exists(path));
    EXPECT_EQ(client().read(0, 5000).data, data);
  }
  EXPECT_TRUE(session->end());
  session.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(NbdHandoverTest, WhoKeepsThePauseWaitingIsDisconnected) {
  begin("mem:64M");
  NbdClient good = client();
  NbdClient stuck = client();
  stuck.ask({.flags = kPayloadLength, .command = Command::write, .length = 4096});
  stuck.send_bytes(bytes_of(100, 1));
  NbdClient silent(path);
  NbdClient greedy = client();
  std::thread asker([&] {
    for (uint64_t i = 0; i < 100; ++i) greedy.ask({.cookie = i, .length = 8 << 20});
  });
  usleep(100'000);
  hand_over();
  EXPECT_TRUE(stuck.is_closed());
  EXPECT_EQ(silent.shake_hands({.export_name = "disk"}), "") << "nobody has waited for it";
  EXPECT_TRUE(greedy.is_closed());
  asker.join();
  EXPECT_EQ(good.read(0, 512).error, 0);
  EXPECT_EQ(good.read(0, 4096).data, std::vector<std::byte>(4096)) << "half a WRITE is none";
}

TEST_F(NbdHandoverTest, TheEndMayComeInAPause) {
  begin("mem:4M", 2);
  NbdClient one = client();
  ASSERT_EQ(one.read(0, 1).error, 0);
  pause();
  EXPECT_TRUE(session->end());
  session.reset();
  EXPECT_TRUE(one.is_closed());
}

TEST_F(NbdHandoverTest, APauseMayBeCutShort) {
  begin("mem:4M", 2);
  NbdClient one = client();
  std::vector<std::byte> head(kExtendedRequestBytes);
  write_request({.cookie = 1, .length = 512}, Headers::extended, head);
  for (int i = 0; i < 100; ++i) {
    one.send_bytes(Bytes(head).first(7));
    ASSERT_TRUE(session->frontend().pause());
    if (i % 4 == 0) usleep(500);
    ASSERT_TRUE(session->frontend().resume());
    one.send_bytes(Bytes(head).subspan(7));
    ASSERT_EQ(one.reply()->error, 0) << i;
    ASSERT_EQ(client().read(0, 1).error, 0) << i;
  }
  ASSERT_TRUE(session->frontend().pause());
  EXPECT_TRUE(session->end());
  session.reset();
  EXPECT_TRUE(one.is_closed());
}

TEST_F(NbdHandoverTest, ManyConnections) {
  if (!may_open(3000)) GTEST_SKIP() << "this process may not open 3000 descriptors";
  begin("mem:4M", 2);
  std::vector<NbdClient> clients;
  for (int i = 0; i < 600; ++i) clients.push_back(client());
  hand_over();
  for (NbdClient& each : clients) ASSERT_EQ(each.read(0, 512).error, 0);
}

TEST_F(NbdHandoverTest, ALesserStackIsRefused) {
  begin("mem:4M");
  const std::string state = session->frontend().handover_state();
  const auto refusal = [&](std::string_view text, bool read_only) {
    auto lesser = std::move(*sluice::test::open_stack(text, read_only));
    const auto adopted = NbdExport::adopt(*lesser, state);
    EXPECT_FALSE(adopted);
    return adopted ? std::string() : adopted.error().text;
  };
  EXPECT_THAT(refusal("mem:2M", false), HasSubstr("were told 4194304 bytes"));
  EXPECT_THAT(refusal(directory.file("disk.img", kSize), true), HasSubstr("read-only"));
  auto larger = std::move(*sluice::test::open_stack("mem:8M"));
  EXPECT_TRUE(NbdExport::adopt(*larger, state));
}

TEST_F(NbdHandoverTest, TheDescriptorsBelongToTheState) {
  begin("mem:4M");
  NbdClient one = client();
  ASSERT_EQ(one.read(0, 1).error, 0);
  prepare_next();
  pause();
  auto handover = session->frontend().let_go();
  ASSERT_TRUE(handover);
  auto state = export_state_from_json(handover->state);
  ASSERT_TRUE(state);
  ASSERT_EQ(state->connections.size(), 1U);
  state->connections.front().unread.resize(5);
  const auto refusal = [&](std::string text, std::vector<Descriptor> descriptors) {
    const auto taken =
        next->frontend().take({.state = std::move(text), .descriptors = std::move(descriptors)});
    EXPECT_FALSE(taken);
    return taken ? std::string() : taken.error().text;
  };
  EXPECT_THAT(refusal(handover->state, {}), HasSubstr("without its sockets"));
  EXPECT_THAT(refusal("{}", {}), HasSubstr("no NBD export"));
  EXPECT_THAT(refusal(to_json(*state), std::move(handover->descriptors)),
              HasSubstr("less was handed over"));
  auto again = session->frontend().let_go();
  ASSERT_TRUE(again);
  state->connections.clear();
  EXPECT_THAT(refusal(to_json(*state), std::move(again->descriptors)), HasSubstr("more sockets"));
  next.reset();
  ASSERT_TRUE(session->frontend().resume());
  EXPECT_EQ(one.read(0, 1).error, 0);
}

}  // namespace
}  // namespace sluice::nbd::test
