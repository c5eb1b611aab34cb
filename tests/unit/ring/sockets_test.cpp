// Headers over sockets: short transfers, early ends, cancellations, timeouts; connecting.
#include "ring/sockets.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "core/private_loan.hpp"
#include "ring/timeout.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr File kSocket{.number = 5};

// The coroutines of a connection, and their results.
struct Connection {
  size_t moved = 0;
  bool clean = false;
  int32_t result = 1;

  Task recv(Request& request, File socket, std::span<std::byte> bytes,
            std::chrono::nanoseconds duration = hours(1)) {
    Timeout timeout(*request.ring, duration);
    auto receiving = sockets::recv_all(*request.ring, socket, bytes);
    auto limited = timeout.limit(receiving);
    const Status status = co_await limited;
    moved = receiving.moved_bytes();
    clean = receiving.clean_end();
    co_return status;
  }
  Task send(Request& request, File socket, std::span<const std::byte> bytes, int flags = 0) {
    auto sending = sockets::send_all(*request.ring, socket, bytes, flags);
    const Status status = co_await sending;
    moved = sending.moved_bytes();
    co_return status;
  }
  // A message as sent over the wire: its header, then lent data.
  Task message(Request& request, File socket, std::span<const std::byte> header) {
    auto sending = sockets::send_all(*request.ring, socket, header, MSG_MORE);
    const Status status = co_await sending;
    if (!status.ok()) co_return status;
    auto following = request.ring->send(socket, request.data);
    co_return co_await following;
  }
  Task connect(Request& request, File socket, const sockaddr_in& address) {
    auto connecting = sockets::connect(*request.ring, socket,
                                       reinterpret_cast<const sockaddr&>(address), sizeof(address));
    result = co_await connecting;
    co_return Status::from_result(result);
  }
  Task shutdown(Request& request, File socket) {
    auto ending = sockets::shutdown(*request.ring, socket, SHUT_WR);
    result = co_await ending;
    co_return Status::from_result(result);
  }
  Task poll(Request& request, File file, std::chrono::nanoseconds duration) {
    Timeout timeout(*request.ring, duration);
    auto polling = sockets::poll(*request.ring, file, POLLIN);
    auto limited = timeout.limit(polling);
    result = co_await limited;
    co_return Status::from_result(result);
  }
};

class SocketsTest : public testing::Test {
 protected:
  Request& make() { return tag_.make(Op::flush, 0, uint64_t{0}); }

  ManualRing ring_;
  TestTag tag_{ring_};
  Connection connection_;
  Bytes header_ = pattern(28, 1);
};

TEST_F(SocketsTest, ShortTransfersAreContinued) {
  const Task task = connection_.send(make(), {.number = 3, .registered = true}, header_, MSG_MORE);
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_SEND);
  EXPECT_EQ(ring_.sqe(0).flags, IOSQE_FIXED_FILE);
  EXPECT_EQ(ring_.sqe(0).msg_flags, uint32_t{MSG_MORE | MSG_WAITALL | MSG_NOSIGNAL});
  ring_.complete(0, 20);
  EXPECT_EQ(ring_.sqe(0).addr, reinterpret_cast<uint64_t>(header_.data()) + 20);
  EXPECT_EQ(ring_.sqe(0).len, 8U);
  ring_.complete(0, -EINTR);
  ring_.complete(0, 8);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
  EXPECT_EQ(connection_.moved, 28U);
}

TEST_F(SocketsTest, NothingIsMovedAtOnce) {
  const Task task = connection_.send(make(), kSocket, {});
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST_F(SocketsTest, AnErrorInTheMidstIsReportedWithWhatWasMoved) {
  const Task task = connection_.send(make(), kSocket, header_);
  ring_.settle();
  ring_.complete(0, 20);
  ring_.complete(0, -EPIPE);
  EXPECT_EQ(task.status().error(), EPIPE);
  EXPECT_EQ(connection_.moved, 20U);
}

// AF_VSOCK says so where its buffer holds less.
TEST_F(SocketsTest, ReceivesInPartsWhereTheSocketDoesNotWaitForAll) {
  const Task task = connection_.recv(make(), kSocket, header_);
  ring_.settle();
  EXPECT_NE(ring_.sqe(1).msg_flags & MSG_WAITALL, 0U);
  ring_.complete(1, -ENOMEM);
  EXPECT_EQ(ring_.sqe(1).msg_flags & MSG_WAITALL, 0U);
  ring_.complete(1, -ENOMEM);
  EXPECT_EQ(task.status().error(), ENOMEM) << "only once";
}

TEST_F(SocketsTest, AResetIsNoCleanEnd) {
  const Task task = connection_.recv(make(), kSocket, header_);
  ring_.settle();
  ring_.complete(1, -ECONNRESET);
  EXPECT_EQ(task.status().error(), ECONNRESET);
  EXPECT_FALSE(connection_.clean);
}

// --- On real sockets.

class KernelHeadersTest : public OnKernelRing {
 protected:
  Request& make() {
    tags_.push_back(std::make_unique<TestTag>(ring()));
    return tags_.back()->make(Op::flush, 0, uint64_t{0});
  }
  int end_of(const Task& task) {
    while (!task.finished()) ring().run_once(true);
    return task.status().error();
  }
  void TearDown() override { tags_.clear(); }

  Pair pair_ = stream_sockets();
  Connection connection_;
  Bytes header_ = pattern(28, 1);
  Bytes received_ = Bytes(28);
  std::vector<std::unique_ptr<TestTag>> tags_;
};

TEST_F(KernelHeadersTest, AHeaderInPiecesIsReceivedWhole) {
  const Task task = connection_.recv(make(), file_of(pair_.far), received_);
  for (size_t i = 0; i < header_.size(); ++i) {
    ASSERT_EQ(write(pair_.near.number(), &header_[i], 1), 1);
    settle();
  }
  EXPECT_EQ(end_of(task), 0);
  EXPECT_EQ(received_, header_);
}

TEST_F(KernelHeadersTest, AnEndBeforeTheFirstByteIsClean) {
  const Task task = connection_.recv(make(), file_of(pair_.far), received_);
  pair_.near = {};
  EXPECT_EQ(end_of(task), ECONNRESET);
  EXPECT_TRUE(connection_.clean);
}

TEST_F(KernelHeadersTest, AnEndWithinAHeaderIsNot) {
  const Task task = connection_.recv(make(), file_of(pair_.far), received_);
  ASSERT_EQ(write(pair_.near.number(), header_.data(), 27), 27);
  pair_.near = {};
  EXPECT_EQ(end_of(task), ECONNRESET);
  EXPECT_FALSE(connection_.clean);
  EXPECT_EQ(connection_.moved, 27U);
}

TEST_F(KernelHeadersTest, AHeaderThatDoesNotComeEndsInTime) {
  ASSERT_EQ(write(pair_.near.number(), header_.data(), 27), 27);
  const Task task = connection_.recv(make(), file_of(pair_.far), received_, milliseconds(20));
  EXPECT_EQ(end_of(task), ETIMEDOUT);
}

TEST_F(KernelHeadersTest, MoreThanTheSocketHoldsIsSent) {
  const Bytes much = pattern(4 << 20, 1);
  Bytes all(much.size());
  Connection other;
  const Task sending = connection_.send(make(), file_of(pair_.near), much);
  const Task receiving = other.recv(make(), file_of(pair_.far), all);
  EXPECT_EQ(end_of(receiving), 0);
  EXPECT_EQ(end_of(sending), 0);
  EXPECT_EQ(all, much);
}

TEST_F(KernelHeadersTest, AMessageIsAHeaderAndWhatWasLent) {
  for (const bool tcp : {false, true}) {
    pair_ = tcp ? tcp_sockets() : stream_sockets();
    Bytes payload = pattern(5000, 2);
    PrivateLoan lent(Direction::source, payload);
    Request& request = make();
    request.data = lent.view();
    const Task task = connection_.message(request, file_of(pair_.near), header_);
    EXPECT_EQ(end_of(task), 0);
    request.data.drop();
    Bytes got(5028);
    ASSERT_EQ(recv(pair_.far.number(), got.data(), got.size(), MSG_WAITALL), 5028);
    EXPECT_EQ(part(got, 0, 28), header_);
    EXPECT_EQ(part(got, 28, 5000), payload);
  }
}

TEST_F(KernelHeadersTest, ConnectsAndShutsDown) {
  const Descriptor listener = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(listener.number(), generic, length), 0);
  ASSERT_EQ(getsockname(listener.number(), generic, &length), 0);
  Descriptor near = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Task refused = connection_.connect(make(), file_of(near), address);
  EXPECT_EQ(end_of(refused), ECONNREFUSED);
  ASSERT_EQ(listen(listener.number(), 1), 0);
  near = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Task connecting = connection_.connect(make(), file_of(near), address);
  EXPECT_EQ(end_of(connecting), 0);
  const Descriptor far = opened(accept4(listener.number(), nullptr, nullptr, SOCK_CLOEXEC));
  const Task ending = connection_.shutdown(make(), file_of(near));
  EXPECT_EQ(end_of(ending), 0);
  char byte = 0;
  EXPECT_EQ(read(far.number(), &byte, 1), 0);
}

TEST_F(KernelHeadersTest, APollGivesItsEventsOrEndsInTime) {
  const Task late = connection_.poll(make(), file_of(pair_.far), milliseconds(10));
  EXPECT_EQ(end_of(late), ETIMEDOUT);
  ASSERT_EQ(write(pair_.near.number(), "x", 1), 1);
  const Task task = connection_.poll(make(), file_of(pair_.far), hours(1));
  EXPECT_EQ(end_of(task), 0);
  EXPECT_EQ(connection_.result, POLLIN);
}

}  // namespace
}  // namespace sluice::test
