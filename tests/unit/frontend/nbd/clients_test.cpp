// NbdExport under clients that break the protocol, wait, do not read, or go away; and its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "unit/frontend/nbd/export_rig.hpp"

namespace sluice::nbd::test {
namespace {

// T1.8
TEST_F(NbdExportTest, AClientMayGoAtEveryByte) {
  serve("mem:4M");
  std::vector<std::byte> stream;
  Writer writer(stream);
  writer.put(uint32_t{3});
  write_option(Option::structured_reply, {}, writer);
  write_option(Option::go, to_bytes(ExportQuery{"disk", {}}), writer);
  const size_t handshake = stream.size();
  for (const Command what : {Command::read, Command::write, Command::flush}) {
    std::vector<std::byte> head(kCompactRequestBytes);
    write_request({.command = what, .length = 600}, Headers::structured, head);
    writer.put(head);
    if (what == Command::write) writer.put(bytes_of(600, 1));
  }
  for (size_t length = 0; length <= stream.size(); length += length < handshake ? 1 : 7) {
    const NbdClient one(path);
    one.send_bytes(Bytes(stream).first(length));
  }
  EXPECT_EQ(client().read(0, 1).error, 0);
}

// T1.21: an aborted WRITE changes nothing.
TEST_F(NbdExportTest, AnAbortedWriteChangesNothing) {
  serve("mem:4M");
  {
    NbdClient one = client(Headers::simple);
    std::vector<std::byte> head(kCompactRequestBytes);
    write_request({.command = Command::write, .length = 100'000}, Headers::simple, head);
    one.send_bytes(head);
    one.send_bytes(bytes_of(99'999, 1));
  }
  EXPECT_EQ(client().read(0, 100'000).data, std::vector<std::byte>(100'000));
}

// T1.6
TEST_F(NbdExportTest, SilentClientsDoNotKeepOthersOut) {
  if (!may_open(1500)) GTEST_SKIP() << "this process may not open 1500 descriptors";
  serve("mem:4M");
  std::vector<NbdClient> silent;
  for (int i = 0; i < 400; ++i) silent.emplace_back(path);
  NbdClient one = client();
  EXPECT_EQ(one.read(0, 1).error, 0);
  EXPECT_TRUE(silent.front().is_closed()) << "the oldest ones are dropped";
  EXPECT_TRUE(session->end());
  session.reset();
}

TEST_F(NbdExportTest, ManyIdleClientsDelayNobody) {
  if (!may_open(3000)) GTEST_SKIP() << "this process may not open 3000 descriptors";
  serve("mem:4M");
  std::vector<NbdClient> clients;
  for (int i = 0; i < 1100; ++i) clients.push_back(client());
  EXPECT_EQ(clients.front().read(0, 512).error, 0);
  EXPECT_EQ(clients.back().command(Command::flush, 0, 0).error, 0);
}

// Replies that have been sent arrive although the client goes on sending requests.
TEST_F(NbdExportTest, TheLastRepliesArrive) {
  serve("fault(mem(4M), delay=200ms, ops=read)");
  NbdClient one = client();
  for (uint64_t i = 0; i < 8; ++i) one.ask({.cookie = i, .length = 65536});
  while (session->frontend().reports().at(0).in_flight < 8) usleep(1000);
  std::thread sender([&] {
    for (int i = 0; i < 100; ++i) {
      one.ask({.cookie = 99, .length = 512});
      usleep(5000);
    }
  });
  EXPECT_TRUE(session->frontend().stop(/*even_if_used=*/true));
  for (uint64_t i = 0; i < 8; ++i) EXPECT_TRUE(one.reply()) << i;
  sender.join();
}

// T1.21
TEST_F(NbdExportTest, AClientThatDoesNotReadDelaysNobody) {
  serve("mem:4M");
  NbdClient deaf = client();
  for (uint64_t i = 0; i < 50; ++i) deaf.ask({.cookie = i, .length = 1 << 20});
  NbdClient one = client();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(one.read(0, 65536).error, 0);
  for (uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(deaf.reply());
}

// T1.9
TEST_F(NbdExportTest, ABrokenStreamIsClosedAtOnce) {
  serve("mem:4M");
  NbdClient one = client();
  one.send_bytes(bytes_of(64, 1));
  EXPECT_TRUE(one.is_closed());
}

TEST_F(NbdExportTest, DisconnectAnswersWhatWasAsked) {
  serve("mem:4M");
  NbdClient one = client();
  for (uint64_t i = 0; i < 20; ++i) one.ask({.cookie = i, .length = 4096});
  one.ask({.command = Command::disconnect});
  for (uint64_t i = 0; i < 20; ++i) EXPECT_TRUE(one.reply());
  EXPECT_TRUE(one.is_closed());
}

TEST_F(NbdExportTest, IsNotStoppedWhileInUseUnlessItMust) {
  serve("mem:4M");
  NbdClient one = client();
  const auto refused = session->frontend().stop(/*even_if_used=*/false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, EBUSY);
  EXPECT_EQ(refused.error().text,
            "nbd+unix:///disk?socket=" + path +
                " is in use (1 client): disconnect them first, or use --force");
  EXPECT_EQ(one.read(0, 1).error, 0);
  EXPECT_TRUE(session->end());
  EXPECT_TRUE(one.is_closed());
  EXPECT_FALSE(std::filesystem::exists(path));
  session.reset();
}

// A client that takes no replies is not waited for.
TEST_F(NbdExportTest, EndsAlthoughAClientDoesNotRead) {
  serve("mem:4M");
  NbdClient deaf = client();
  for (uint64_t i = 0; i < 50; ++i) deaf.ask({.cookie = i, .length = 1 << 20});
  while (session->frontend().reports().at(0).requests < 8) usleep(1000);
  usleep(100'000);  // now it waits for a free tag
  EXPECT_TRUE(session->end());
  session.reset();
}

TEST_F(NbdExportTest, ClientsAreSpreadOverTheQueues) {
  serve("mem:4M", false, 3);
  std::vector<NbdClient> clients;
  for (int i = 0; i < 9; ++i) {
    clients.push_back(client());
    EXPECT_EQ(clients.back().read(0, 512).error, 0);
  }
  for (const QueueReport& report : session->frontend().reports()) EXPECT_EQ(report.requests, 3U);
}

// Writers of parts of the same blocks, on several queues.
TEST_F(NbdExportTest, WritersOfOneBlockKeepTheirBytes) {
  serve("mem:4M", false, 3);
  constexpr size_t kWriters = 6;
  constexpr size_t kBytes = 100;
  std::vector<std::thread> writers;
  for (size_t i = 0; i < kWriters; ++i) {
    writers.emplace_back([this, i] {
      NbdClient one = client();
      for (int round = 1; round <= 100; ++round) {
        const std::vector<std::byte> data(kBytes, static_cast<std::byte>(round));
        EXPECT_EQ(one.write(i * kBytes, data, kFua), 0);
        EXPECT_EQ(one.read(i * kBytes, kBytes).data, data);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
}

TEST_F(NbdExportTest, ATakenAddressIsRefused) {
  serve("mem:4M");
  const auto second =
      NbdExport::make(*stack, {.addresses = {*ListenAddress::parse("unix:" + path)}});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().error, EADDRINUSE);
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(NbdExportTest, NewClientsSeeANewSize) {
  const std::string file = directory.file("disk.img", kSize);
  serve(file);
  NbdClient before = client();
  std::filesystem::resize_file(file, 2 * kSize);
  ASSERT_TRUE(stack->resize(std::nullopt));
  EXPECT_EQ(client().agreed().size, 2 * kSize);
  EXPECT_EQ(before.read(kSize, 1).error, EINVAL);
}

}  // namespace
}  // namespace sluice::nbd::test
