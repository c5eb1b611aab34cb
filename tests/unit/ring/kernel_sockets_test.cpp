// Operations on real sockets: parked, cancelled, closed by the peer, sent without a copy.
#include <gtest/gtest.h>

#include <thread>

#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

class KernelSocketsTest : public OnKernelRing {
 protected:
  static Bytes receive_exactly(const Descriptor& socket, size_t count) {
    Bytes bytes(count);
    const ssize_t got = recv(socket.number(), bytes.data(), count, MSG_WAITALL);
    bytes.resize(static_cast<size_t>(std::max<ssize_t>(0, got)));
    return bytes;
  }

  Pair pair_ = stream_sockets();
  Bytes memory_ = Bytes(4096);
};

TEST_F(KernelSocketsTest, WhatIsSentIsReceived) {
  Bytes content = pattern(4096, 1);
  Lent source(Direction::source, content);
  Lent destination(Direction::destination, memory_);
  const Started receiving(ring(), destination.loan.view(), recv_from(file_of(pair_.far)));
  const Started sending(ring(), source.loan.view(), send_to(file_of(pair_.near)));
  EXPECT_EQ(finish(sending), 0);
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(memory_, content);
  EXPECT_EQ(destination.loan.filled_bytes(), 4096U);
}

TEST_F(KernelSocketsTest, MoreThanTheSocketHoldsIsSent) {
  Bytes content = pattern(4 << 20, 1);
  Bytes memory(4 << 20);
  Lent source(Direction::source, content);
  Lent destination(Direction::destination, memory);
  const Started sending(ring(), source.loan.view(), send_to(file_of(pair_.near)));
  const Started receiving(ring(), destination.loan.view(), recv_from(file_of(pair_.far)));
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(finish(sending), 0);
  EXPECT_EQ(memory, content);
}

TEST_F(KernelSocketsTest, ScatteredPiecesAreOneStream) {
  Bytes content = pattern(4096, 1);
  Lent source(Direction::source, content);
  Arena arena;
  const std::array<Segment, 3> pieces{{{1000, 10}, {0, 20}, {4000, 96}}};
  const Started sending(ring(), source.loan.view().select(pieces, arena),
                        send_to(file_of(pair_.near)));
  EXPECT_EQ(finish(sending), 0);
  const Bytes got = received_by(pair_.far);
  ASSERT_EQ(got.size(), 126U);
  EXPECT_EQ(part(got, 0, 10), part(content, 1000, 10));
  EXPECT_EQ(part(got, 10, 20), part(content, 0, 20));
  EXPECT_EQ(part(got, 30, 96), part(content, 4000, 96));
}

TEST_F(KernelSocketsTest, AReceiveWaitsForAllOfItsBytes) {
  Lent lent(Direction::destination, memory_);
  const Started receiving(ring(), lent.loan.view(), recv_from(file_of(pair_.far)));
  settle();
  ASSERT_EQ(write(pair_.near.number(), memory_.data(), 4000), 4000);
  settle();
  EXPECT_FALSE(receiving.finished());
  ASSERT_EQ(write(pair_.near.number(), memory_.data(), 96), 96);
  EXPECT_EQ(finish(receiving), 0);
}

TEST_F(KernelSocketsTest, APeerThatClosesEarlyIsAReset) {
  Lent lent(Direction::destination, memory_);
  const Started receiving(ring(), lent.loan.view(), recv_from(file_of(pair_.far)));
  ASSERT_EQ(write(pair_.near.number(), "abc", 3), 3);
  pair_.near = {};
  EXPECT_EQ(finish(receiving), ECONNRESET);
  EXPECT_EQ(lent.loan.filled_bytes(), 3U);
}

TEST_F(KernelSocketsTest, SendingToAClosedPeerIsABrokenPipeAndNoSignal) {
  pair_.far = {};
  Lent lent(Direction::source, memory_);
  const Started sending(ring(), lent.loan.view(), send_to(file_of(pair_.near)));
  EXPECT_EQ(finish(sending), EPIPE);
}

TEST_F(KernelSocketsTest, AParkedReceiveCanBeCancelled) {
  Lent lent(Direction::destination, memory_);
  Started receiving(ring(), lent.loan.view(), recv_from(file_of(pair_.far)));
  settle();
  EXPECT_FALSE(receiving.finished());
  EXPECT_EQ(lent.loan.references(), 3U) << "the server's hold, the request's, the operation's";
  receiving.cancel();
  EXPECT_EQ(finish(receiving), ECANCELED);
  EXPECT_EQ(lent.loan.filled_bytes(), 0U);
}

// On such a cancellation the kernel returns the bytes received so far: a short result.
TEST_F(KernelSocketsTest, AParkedReceiveThatHasSomeBytesCanBeCancelled) {
  Lent lent(Direction::destination, memory_);
  Started receiving(ring(), lent.loan.view(), recv_from(file_of(pair_.far)));
  settle();
  ASSERT_EQ(write(pair_.near.number(), memory_.data(), 100), 100);
  settle();
  EXPECT_FALSE(receiving.finished());
  receiving.cancel();
  EXPECT_EQ(finish(receiving), ECANCELED);
}

TEST_F(KernelSocketsTest, AParkedSendCanBeCancelled) {
  Bytes content = pattern(4 << 20, 1);
  Lent lent(Direction::source, content);
  Started sending(ring(), lent.loan.view(), send_to(file_of(pair_.near)));
  settle();
  EXPECT_FALSE(sending.finished());
  sending.cancel();
  EXPECT_EQ(finish(sending), ECANCELED);
}

TEST_F(KernelSocketsTest, WhatComesAfterACancelledReceiveIsForTheNext) {
  Lent lent(Direction::destination, memory_);
  Started cancelled(ring(), lent.loan.view(0, 100), recv_from(file_of(pair_.far)));
  settle();
  cancelled.cancel();
  EXPECT_EQ(finish(cancelled), ECANCELED);
  const Bytes content = pattern(50, 1);
  ASSERT_EQ(write(pair_.near.number(), content.data(), 50), 50);
  const Started next(ring(), lent.loan.view(200, 50), recv_from(file_of(pair_.far)));
  EXPECT_EQ(finish(next), 0);
  EXPECT_EQ(part(memory_, 200, 50), content);
  EXPECT_TRUE(all_are(part(memory_, 0, 100), 0));
}

TEST_F(KernelSocketsTest, AZeroCopySendArrivesAndEndsWithItsNotification) {
  const Pair tcp = tcp_sockets();
  Bytes content = pattern(65536, 1);
  Lent lent(Direction::source, content);
  const Started sending(ring(), lent.loan.view(), [&](Request& request) {
    return request.ring->send_zc(file_of(tcp.near), std::move(request.data));
  });
  lent.close();
  Bytes got;
  std::thread reader([&] { got = receive_exactly(tcp.far, content.size()); });
  EXPECT_EQ(finish(sending), 0);
  reader.join();
  EXPECT_EQ(got, content);
  EXPECT_EQ(sending.moved_bytes(), 65536U);
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST_F(KernelSocketsTest, ZeroCopySendsOfMoreThanTheSocketHoldsArrive) {
  const Pair tcp = tcp_sockets();
  Bytes content = pattern(8 << 20, 1);
  Lent lent(Direction::source, content);
  const Started sending(ring(), lent.loan.view(), send_zc_to(file_of(tcp.near)));
  Bytes got;
  std::thread reader([&] { got = receive_exactly(tcp.far, content.size()); });
  EXPECT_EQ(finish(sending), 0);
  reader.join();
  EXPECT_EQ(got, content);
}

TEST_F(KernelSocketsTest, AZeroCopySendFromARegisteredBufferArrives) {
  const Pair tcp = tcp_sockets();
  Bytes content = pattern(65536, 1);
  ASSERT_TRUE(ring().register_memory(2, content));
  Lent lent(Direction::source, content, 2);
  const Started sending(ring(), lent.loan.view(4096, 8192), send_zc_to(file_of(tcp.near)));
  settle();
  EXPECT_EQ(receive_exactly(tcp.far, 8192), part(content, 4096, 8192));
  EXPECT_EQ(finish(sending), 0);
}

TEST_F(KernelSocketsTest, ZeroCopyOnASocketThatCannotIsRefused) {
  Lent lent(Direction::source, memory_);
  const Started sending(ring(), lent.loan.view(), send_zc_to(file_of(pair_.near)));
  EXPECT_EQ(finish(sending), EOPNOTSUPP);
  EXPECT_TRUE(received_by(pair_.far).empty());
}

TEST_F(KernelSocketsTest, RegisteredBuffersAreSentAndReceivedInPlace) {
  if (!ring().abilities().socket_fixed) GTEST_SKIP() << "Linux 7.2 and later";
  Bytes content = pattern(4096, 1);
  ASSERT_TRUE(ring().register_memory(0, content));
  ASSERT_TRUE(ring().register_memory(1, memory_));
  Lent source(Direction::source, content, 0);
  Lent destination(Direction::destination, memory_, 1);
  const Started sending(ring(), source.loan.view(10, 1000), send_to(file_of(pair_.near)));
  const Started receiving(ring(), destination.loan.view(20, 1000), recv_from(file_of(pair_.far)));
  EXPECT_EQ(finish(sending), 0);
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(part(memory_, 20, 1000), part(content, 10, 1000));
}

// A slot on a kernel whose sockets cannot use it: the memory is passed by its address.
TEST_F(KernelSocketsTest, MemoryThatHasASlotIsSentOnEveryKernel) {
  Bytes content = pattern(4096, 1);
  ASSERT_TRUE(ring().register_memory(0, content));
  Lent lent(Direction::source, content, 0);
  const Started sending(ring(), lent.loan.view(), send_to(file_of(pair_.near)));
  EXPECT_EQ(finish(sending), 0);
  EXPECT_EQ(received_by(pair_.far), content);
}

}  // namespace
}  // namespace sluice::test
