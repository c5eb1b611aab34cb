// dev_splice: S57 to S61.
#include "lend/dev_splice.hpp"

#include <future>

#include "conformance/serves_with.hpp"
#include "conformance/sockets.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 64 * 1024;

using Splices = ServesWith<lend::DevSplice>;

// The whole request with one operation.
Splices::Make whole(const lend::Consumer& op) {
  return [op](auto& command, Request& request, lend::Provider& device) {
    command.emplace(device, lend::Provider::position(request).pack(),
                    static_cast<uint32_t>(request.length), op);
  };
}

Splices::Make some(uint32_t offset, uint32_t length, const lend::Consumer& op) {
  return [=](auto& command, Request& request, lend::Provider& device) {
    command.emplace(device, lend::Provider::position(request, offset).pack(), length, op);
  };
}

TEST_P(OnEachProvider, S57_S61_TheOperationIsAValueOfAWrite) {
  const Descriptor file = make_file(kBytes, false);
  const Descriptor vectored = make_file(kBytes, false);
  const Pair sent = tcp_sockets();
  const std::array<Segment, 2> halves{{{kBytes / 2, kBytes / 2}, {0, kBytes / 2}}};
  auto& server = serve_with<Splices>(Splices::Makers{
      whole(lend::Write{.file = as_file(file)}),
      whole(lend::Writev{.file = as_file(vectored), .pieces = halves}),
      whole(lend::SendZc{.socket = as_file(sent.near)}),
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(server.result(i), kBytes) << i;
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_TRUE(has_pattern(contents(vectored, kBytes / 2), kBytes / 2));
  EXPECT_TRUE(has_pattern(contents(vectored, kBytes / 2, kBytes / 2)));
  EXPECT_TRUE(has_pattern(received(sent.far, kBytes)));
}

TEST_P(OnEachProvider, S57_S61_TheOperationIsAValueOfARead) {
  const Descriptor file = make_file(kBytes, true);
  const std::array<Segment, 1> first{{{0, kBytes / 2}}};
  auto& server = serve_with<Splices>(Splices::Makers{
      some(kBytes / 2, kBytes / 2, lend::Read{.file = as_file(file), .offset = kBytes / 2}),
      whole(lend::Readv{.file = as_file(file), .pieces = first}),
  });
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(server.result(i), kBytes / 2) << i;
  EXPECT_TRUE(has_pattern(back));
  EXPECT_EQ(copied_bytes(), 0U);
}

// Linux 7.2 is the first to send plainly from the pages of a ublk request, or to receive into them.
TEST_P(OnEachProvider, S57_ASocketFillsAReadAndTakesAWrite) {
  const Pair pair = stream_sockets();
  const lend::Consumer sends = lend::Send{.socket = as_file(pair.near)};
  const lend::Consumer receives = lend::Recv{.socket = as_file(pair.near)};
  auto& server = serve_with<Splices>(
      Splices::Make([&](auto& command, Request& request, lend::Provider& device) {
        whole(request.op == Op::read ? receives : sends)(command, request, device);
      }));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  if (server.result() == -EOPNOTSUPP) GTEST_SKIP() << "no plain send from registered pages here";
  EXPECT_TRUE(has_pattern(received(pair.far, kBytes)));
  const auto reply = patterned(kBytes, 5);
  ASSERT_EQ(send(pair.far.number(), reply.data(), reply.size(), 0), ssize_t{kBytes});
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(back, 5));
}

TEST_P(OnEachProvider, S58_TheRequestEndsAfterItsDevSplice) {
  const Pair pair = stream_sockets();
  std::atomic<bool> started = false;
  auto& server = serve_with<Splices>(
      Splices::Make([&](auto& command, Request& request, lend::Provider& device) {
        whole(lend::Recv{.socket = as_file(pair.near)})(command, request, device);
        started = true;
        started.notify_one();
      }));
  const auto back = memory(kBytes);
  auto reading = std::async(std::launch::async, [this] { return read(0, kBytes); });
  started.wait(false);
  EXPECT_EQ(reading.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  const auto reply = patterned(kBytes);
  ASSERT_EQ(send(pair.far.number(), reply.data(), reply.size(), 0), ssize_t{kBytes});
  EXPECT_EQ(reading.get(), 0);
  if (server.result() == -EOPNOTSUPP) GTEST_SKIP() << "no plain recv into registered pages here";
  EXPECT_TRUE(has_pattern(back));
}

TEST_P(OnEachProvider, S59_E_WrongDirectionOfAWrite) {
  const Descriptor file = make_file(kBytes, true);
  const Pair pair = stream_sockets();
  ASSERT_EQ(send(pair.near.number(), "untouched", 9, 0), 9);
  auto& server = serve_with<Splices>(Splices::Makers{
      whole(lend::Read{.file = as_file(file)}),
      whole(lend::Recv{.socket = as_file(pair.far)}),
  });
  const auto mine = memory(kBytes, true);
  EXPECT_EQ(write(0, kBytes), 0);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(server.result(i), -EACCES) << i;
  EXPECT_EQ(pending_bytes(pair.far), 9);
  EXPECT_TRUE(has_pattern(mine));
}

TEST_P(OnEachProvider, S59_E_WrongDirectionOfARead) {
  const Descriptor file = make_file(kBytes, true);
  const Pair pair = stream_sockets();
  auto& server = serve_with<Splices>(Splices::Makers{
      whole(lend::Write{.file = as_file(file)}),
      whole(lend::Send{.socket = as_file(pair.near)}),
      whole(lend::SendZc{.socket = as_file(pair.near)}),
  });
  EXPECT_EQ(read(0, kBytes), 0);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(server.result(i), -EACCES) << i;
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(pending_bytes(pair.far), 0);
}

TEST_P(OnEachProvider, S57_E_NamesOfNothing) {
  const Descriptor file = make_file(kBytes, true);
  const lend::Consumer op = lend::Write{.file = as_file(file)};
  auto& server = serve_with<Splices>(on_bad_names<lend::DevSplice>(
      [op](auto& command, lend::Provider& device, const BadName& bad) {
        command.emplace(device, bad.at.pack(), bad.length, op);
      }));
  memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  for (size_t i = 0; i < kBadNameErrors.size(); ++i) {
    EXPECT_EQ(server.result(i), -kBadNameErrors[i]) << i;
  }
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

TEST_P(OnEachProvider, S57_E_AFileThatIsNotOpen) {
  auto& server = serve_with<Splices>(whole(lend::Write{}));
  memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), -EBADF);
}

TEST_P(OnEachProvider, S60_ARequestTakesSeveral) {
  const Descriptor meta = make_file(4096, false);
  const Descriptor data = make_file(kBytes, false);
  const lend::Consumer first = lend::Write{.file = as_file(meta)};
  const lend::Consumer rest = lend::Write{.file = as_file(data), .offset = 512};
  auto& server =
      serve_with<Splices>(Splices::Makers{some(0, 4096, first), some(4096, kBytes - 4096, rest)});
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(0), 4096);
  EXPECT_EQ(server.result(1), kBytes - 4096);
  EXPECT_TRUE(has_pattern(contents(meta, 4096)));
  EXPECT_TRUE(has_pattern(contents(data, kBytes - 4096, 512), 4096));
}

// The kernel takes 1024 pieces at once, the posted code took 254 and was silent about the rest.
TEST_P(OnEachWithoutPipes, S50_S57_MorePiecesThanOneOperationTakesAreAllMoved) {
  constexpr uint32_t kPiece = 32;
  constexpr uint32_t kPieces = kBytes / kPiece;
  std::vector<Segment> last_first;
  for (uint32_t i = kPieces; i-- != 0;) last_first.push_back({i * kPiece, kPiece});
  const Descriptor file = make_file(kBytes, false);
  auto& server = serve_with<Splices>(
      Splices::Make([&](auto& command, Request& request, lend::Provider& device) {
        const lend::Consumer fills = lend::Readv{.file = as_file(file), .pieces = last_first};
        const lend::Consumer takes = lend::Writev{.file = as_file(file), .pieces = last_first};
        whole(request.op == Op::read ? fills : takes)(command, request, device);
      }));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  const auto found = contents(file, kBytes);
  for (uint32_t i = 0; i < kPieces; ++i) {
    const auto piece = std::span(found).subspan(size_t{i} * kPiece, kPiece);
    ASSERT_TRUE(has_pattern(piece, uint64_t{kPieces - 1 - i} * kPiece)) << i;
  }
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(back));
}

TEST_P(OnEachProvider, P3_OneOperationMovesMoreThanSixteenPages) {
  const Descriptor file = make_file(8 * kBytes, false);
  auto& server = serve_with<Splices>(whole(lend::Write{.file = as_file(file)}));
  memory(8 * kBytes, true);
  ASSERT_EQ(write(0, 8 * kBytes), 0);
  EXPECT_EQ(server.result(), 8 * kBytes);
  EXPECT_TRUE(are_its_own(server.submissions(), 1));
  EXPECT_TRUE(has_pattern(contents(file, 8 * kBytes)));
}

}  // namespace
}  // namespace sluice::test
