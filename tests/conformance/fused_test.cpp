// FUSED_CMD with one slave, as posted, on every provider: S66 to S84. What does not depend on the
// provider is in fused_command_test.cpp.
#include "lend/fused.hpp"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <thread>

#include "conformance/attempts.hpp"
#include "conformance/sockets.hpp"

namespace sluice::test {
namespace {

using lend::Fused;
using lend::FusedSqe;
using Of = lend::Fused::Cqe::Of;
using Cqes = std::vector<lend::Fused::Cqe>;

constexpr uint32_t kBytes = 128 * 1024;

// One command on each request: with this slave, on this piece of it.
class Fuses : public Attempts {
 public:
  Fuses(Segment piece, const lend::Consumer& slave) : sqe_{.piece = piece, .slave = slave} {}

  int64_t result() const { return result_; }
  const Cqes& cqes() const { return cqes_; }

 private:
  Task attempt(Request& request) override {
    FusedSqe sqe = sqe_;
    sqe.master = {&provider(), request.queue, request.tag};
    Fused fused(sqe);
    Task running = fused.run(request);
    const Status status = co_await running;
    result_ = fused.result();
    cqes_.assign(fused.cqes().begin(), fused.cqes().end());
    co_return status;
  }

  FusedSqe sqe_;
  int64_t result_ = 0;
  Cqes cqes_;
};

TEST_P(OnEachProvider, S66_S69_S71_TheSlaveReadsTheFile) {
  const Descriptor file = make_file(kBytes, true);
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::Read{.file = as_file(file)}));
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(back));
  EXPECT_EQ(server.references_left(), 2U);
  EXPECT_EQ(copied_bytes(), 0U);
}

TEST_P(OnEachProvider, S66_S69_S71_TheSlaveWritesTheFile) {
  const Descriptor file = make_file(0, false);
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::Write{.file = as_file(file)}));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(server.references_left(), 2U);
  EXPECT_EQ(copied_bytes(), 0U);
}

TEST_P(OnEachProvider, S66_TheSlaveSends) {
  const Pair sockets = stream_sockets();
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::Send{as_file(sockets.near)}));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(received(sockets.far, kBytes)));
}

TEST_P(OnEachProvider, S66_TheSlaveSendsWithoutCopying) {
  const Pair sockets = tcp_sockets();
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::SendZc{as_file(sockets.near)}));
  memory(kBytes, true);
  std::vector<std::byte> got;
  std::thread peer([&] { got = received(sockets.far, kBytes); });
  EXPECT_EQ(write(0, kBytes), 0);
  peer.join();
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(got));
}

TEST_P(OnEachProvider, S66_TheSlaveReceives) {
  const Pair sockets = stream_sockets();
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::Recv{as_file(sockets.near)}));
  const auto sent = patterned(kBytes);
  ASSERT_EQ(send(sockets.far.number(), sent.data(), kBytes, 0), ssize_t{kBytes});
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(back));
}

TEST_P(OnEachProvider, S67_P6_TheSlaveUsesAPiece) {
  const Descriptor file = make_file(0, false);
  auto& server =
      serve_with<Fuses>(Segment{4608, 70'000}, lend::Consumer(lend::Write{.file = as_file(file)}));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), 70'000);
  EXPECT_TRUE(has_pattern(contents(file, 70'000), 4608));
  EXPECT_EQ(contents(file, kBytes).size(), 70'000U);
}

TEST_P(OnEachProvider, S67_P6_E_Fused_BeyondTheBuffer) {
  const Descriptor file = make_file(kBytes, true);
  auto& server =
      serve_with<Fuses>(Segment{kBytes - 1, 2}, lend::Consumer(lend::Read{.file = as_file(file)}));
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.cqes(), (Cqes{{Of::slave, -EFAULT}, {Of::master, -EFAULT}}));
  EXPECT_EQ(server.filled_bytes(), 0U);
  EXPECT_EQ(server.submissions(), 0U);
}

// An eventfd can be written only from an address.
TEST_P(OnEachProvider, S68_E_Fused_AFileThatWantsAnAddress) {
  const Descriptor file(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  auto& server =
      serve_with<Fuses>(Segment{0, 8}, lend::Consumer(lend::Write{.file = as_file(file)}));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  std::array<std::byte, 8> got{};
  const ssize_t count = ::read(file.number(), got.data(), got.size());
  if (kind() == Kind::ublk || kind() == Kind::ublk_by_hand) {
    EXPECT_EQ(server.result(), -EOPNOTSUPP);
    EXPECT_LT(count, 0) << "nothing was written";
  } else {
    EXPECT_EQ(server.result(), 8);
    EXPECT_TRUE(has_pattern(got));
  }
}

TEST_P(OnEachProvider, S69_P5_E_Fused_NothingIsFilledIntoASource) {
  const Pair sockets = stream_sockets();
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::Recv{as_file(sockets.near)}));
  ASSERT_EQ(send(sockets.far.number(), "abc", 3, 0), 3);
  const auto data = memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.cqes(), (Cqes{{Of::master, -EACCES}}));
  EXPECT_TRUE(has_pattern(data));
  EXPECT_EQ(received(sockets.near, 3).size(), 3U) << "nothing was taken from the socket";
}

TEST_P(OnEachProvider, S69_P5_E_Fused_NothingIsTakenFromADestination) {
  const Pair sockets = stream_sockets();
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::Send{as_file(sockets.near)}));
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.cqes(), (Cqes{{Of::master, -EACCES}}));
  EXPECT_EQ(pending_bytes(sockets.far), 0) << "the peer has got nothing";
}

TEST_P(OnEachProvider, S74_ASlaveThatIsShortSaysSoTwice) {
  const Descriptor file = make_file(100'000, true);
  auto& server =
      serve_with<Fuses>(Segment{0, kBytes}, lend::Consumer(lend::Read{.file = as_file(file)}));
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.cqes(), (Cqes{{Of::slave, 100'000}, {Of::master, 100'000}}));
}

// The rest of what the first file has not, from the second.
class Retries : public Attempts {
 public:
  Retries(const Descriptor& first, const Descriptor& second)
      : first_(as_file(first)), second_(as_file(second)) {}
  const Cqes& cqes() const { return cqes_; }

 private:
  Task attempt(Request& request) override {
    FusedSqe sqe{.master = {&provider(), request.queue, request.tag},
                 .piece = {0, kBytes},
                 .slave = lend::Read{.file = first_}};
    Fused short_one(sqe);
    {
      Task running = short_one.run(request);
      (void)co_await running;
    }
    const auto done = static_cast<uint32_t>(short_one.result());
    sqe.piece = {done, kBytes - done};
    sqe.slave = lend::Read{.file = second_, .offset = done};
    Fused rest(sqe);
    {
      Task running = rest.run(request);
      (void)co_await running;
    }
    cqes_ = {short_one.cqes()[0], rest.cqes()[0]};
    co_return kOk;
  }

  const File first_;
  const File second_;
  Cqes cqes_;
};

TEST_P(OnEachProvider, S80_P9_TheRestIsAskedForAtOffsetPlusDone) {
  const Descriptor first = make_file(100'000, true);
  const Descriptor second = make_file(kBytes, true);
  auto& server = serve_with<Retries>(first, second);
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.cqes(), (Cqes{{Of::slave, 100'000}, {Of::slave, kBytes - 100'000}}));
  EXPECT_TRUE(has_pattern(back));
}

TEST_P(OnEachWithoutPipes, S84_P3_TwoEntriesAsPostedAreOneSubmission) {
  const Descriptor file = make_file(0, false);
  auto& server =
      serve_with<Fuses>(Segment{0, 512 * 1024}, lend::Consumer(lend::Write{.file = as_file(file)}));
  memory(512 * 1024, true);
  ASSERT_EQ(write(0, 512 * 1024), 0);
  EXPECT_EQ(server.submissions(), 1U);
}

}  // namespace
}  // namespace sluice::test
