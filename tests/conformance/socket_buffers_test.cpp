// Sockets on registered buffers (S129): plain SEND and RECV since Linux 7.2, SEND_ZC before.
#include <sys/socket.h>

#include <thread>

#include "conformance/buffer_commands.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;

constexpr uint32_t kBytes = 256 * 1024;
constexpr Segment kAll{0, kBytes};

// The program's request is served by a socket; the other end is the test's, which takes its time.
class SocketBuffers : public OnEachProvider {
 protected:
  BufferCommands& serve(const lend::Consumer& consumer) {
    return serve_with<BufferCommands>([=](BufferCommands& on, Request& request) {
      on.get(0, request);
      on.use(0, kAll, consumer);
      on.put(0);
    });
  }

  // Writes through the server, and gives what arrives at the far end.
  std::vector<std::byte> sent_by_write() {
    memory(kBytes, true);
    std::vector<std::byte> arrived(kBytes);
    std::thread reader([&] {
      size_t done = 0;
      ssize_t count = 0;
      while (done < kBytes &&
             (count = ::recv(sockets_.far.number(), arrived.data() + done, kBytes - done, 0)) > 0) {
        done += static_cast<size_t>(count);
      }
      arrived.resize(done);
    });
    EXPECT_EQ(write(0, kBytes), 0);
    ::shutdown(sockets_.near.number(), SHUT_WR);
    reader.join();
    return arrived;
  }

  Pair sockets_ = tcp_sockets();
};

bool kernel_has_no_fixed_sockets(const BufferCommands& server) {
  return server.results().at(1) == -EOPNOTSUPP;
}

TEST_P(SocketBuffers, S129_P9_ASendGoesOnUntilAllIsSent) {
  const int few = 4096;
  setsockopt(sockets_.near.number(), SOL_SOCKET, SO_SNDBUF, &few, sizeof(few));
  const auto& server = serve(lend::Send{as_file(sockets_.near)});
  const auto arrived = sent_by_write();
  if (kernel_has_no_fixed_sockets(server)) GTEST_SKIP() << "before Linux 7.2";
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, 0));
  EXPECT_EQ(arrived.size(), kBytes);
  EXPECT_TRUE(has_pattern(arrived));
}

TEST_P(SocketBuffers, S129_P9_AReceiveGoesOnUntilAllIsThere) {
  const auto& server = serve(lend::Recv{as_file(sockets_.near)});
  const auto sent = patterned(kBytes);
  std::thread writer([&] {
    for (uint32_t done = 0; done < kBytes; done += kBytes / 4) {
      ::send(sockets_.far.number(), sent.data() + done, kBytes / 4, MSG_NOSIGNAL);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  const auto back = memory(kBytes);
  const int error = read(0, kBytes);
  writer.join();
  if (kernel_has_no_fixed_sockets(server)) GTEST_SKIP() << "before Linux 7.2";
  EXPECT_EQ(error, 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, 0));
  EXPECT_TRUE(has_pattern(back));
}

TEST_P(SocketBuffers, S129_P10_SendZcHasReturnedTheBufferWhenItEnds) {
  const auto& server = serve(lend::SendZc{as_file(sockets_.near)});
  const auto arrived = sent_by_write();
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, 0));
  EXPECT_EQ(server.references_left(), 0U);
  EXPECT_TRUE(has_pattern(arrived));
  EXPECT_EQ(arrived.size(), kBytes);
}

TEST(Rules, S129_P10_TheNotificationReturnsTheBufferOfSendZcAndNotTheResult) {
  ManualRing ring;
  TestTag tag(ring);
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  lend::BufferTable table = make_table(1);
  ASSERT_TRUE(table.install(0, lent.loan.view()).ok());
  lent.close();
  lend::UseBuf sending(table, 0, {0, 4096}, lend::SendZc{{.number = 5}});
  const Task task = sending.run(tag.make(Op::flush, 0, 0));
  ring.settle();
  EXPECT_TRUE(table.remove(0).ok());
  ring.complete(0, 4096, IORING_CQE_F_MORE);
  EXPECT_EQ(lent.returned_count(), 0);
  ring.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(lent.returned_count(), 1);
  EXPECT_EQ(sending.result(), 4096);
}

INSTANTIATE_TEST_SUITE_P(Providers, SocketBuffers, testing::ValuesIn(kinds_here()),
                         [](const auto& kind) { return to_string(kind.param); });

}  // namespace
}  // namespace sluice::test
