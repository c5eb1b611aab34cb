// Acceptor: hands out connections one by one, drops none, and can be stopped at any time.
#include "ring/acceptor.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "ring/timeout.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

struct Server {
  std::vector<int32_t> results;
  bool stopped = false;

  Task accept(Request& request, Acceptor& acceptor, int count,
              std::chrono::nanoseconds duration = hours(1)) {
    for (int i = 0; i < count; ++i) {
      Timeout timeout(*request.ring, duration);
      auto next = acceptor.next();
      auto limited = timeout.limit(next);
      results.push_back(co_await limited);
    }
    co_return kOk;
  }
  Task stop(Request&, Acceptor& acceptor) {
    auto stopping = acceptor.stop();
    co_await stopping;
    stopped = true;
    co_return kOk;
  }
  Task pause(Request&, Acceptor& acceptor) {
    auto pausing = acceptor.pause();
    co_await pausing;
    co_return kOk;
  }
};

class AcceptorTest : public testing::Test {
 protected:
  Request& make() {
    tags_.push_back(std::make_unique<TestTag>(ring_));
    return tags_.back()->make(Op::flush, 0, uint64_t{0});
  }
  size_t find(uint8_t opcode) const {
    for (size_t i = 0; i < ring_.pending(); ++i) {
      if (ring_.sqe(i).opcode == opcode) return i;
    }
    return SIZE_MAX;
  }
  bool is_accepting() const { return find(IORING_OP_ACCEPT) != SIZE_MAX; }
  // Completes an accept with a new descriptor, which the test must close or take.
  int arrive(uint32_t flags = IORING_CQE_F_MORE) {
    const int number = opened(dup(0)).release();
    ring_.complete(find(IORING_OP_ACCEPT), number, flags);
    return number;
  }
  void stop() {
    const Task task = server_.stop(make(), acceptor_);
    ring_.settle();
    if (find(IORING_OP_ASYNC_CANCEL) != SIZE_MAX) ring_.perform(find(IORING_OP_ASYNC_CANCEL));
    EXPECT_TRUE(task.finished());
    for (const int32_t result : server_.results) {
      if (result > 0) ::close(result);
    }
  }

  ManualRing ring_;
  std::vector<std::unique_ptr<TestTag>> tags_;
  Server server_;
  Acceptor acceptor_{ring_, {.number = 5}, 2};
};

using Results = std::vector<int32_t>;

TEST_F(AcceptorTest, OneSubmissionAcceptsMany) {
  const Task task = server_.accept(make(), acceptor_, 3);
  ring_.settle();
  const size_t at = find(IORING_OP_ACCEPT);
  EXPECT_NE(ring_.sqe(at).ioprio & IORING_ACCEPT_MULTISHOT, 0);
  EXPECT_EQ(ring_.sqe(at).accept_flags, uint32_t{SOCK_CLOEXEC});
  Results expected;
  for (int i = 0; i < 3; ++i) expected.push_back(arrive());
  EXPECT_TRUE(task.finished());
  EXPECT_EQ(server_.results, expected);
  EXPECT_EQ(ring_.counters().submitted, 2U) << "and a timer";
  stop();
}

TEST_F(AcceptorTest, AKernelWithoutMultishotAcceptsOneByOne) {
  const Task task = server_.accept(make(), acceptor_, 2);
  ring_.settle();
  ring_.complete(find(IORING_OP_ACCEPT), -EINVAL);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(is_accepting());
    EXPECT_EQ(ring_.sqe(find(IORING_OP_ACCEPT)).ioprio & IORING_ACCEPT_MULTISHOT, 0);
    arrive(0);
  }
  EXPECT_TRUE(task.finished());
  stop();
}

TEST_F(AcceptorTest, WhatIsWrongWithTheSocketIsReported) {
  const Task task = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  ring_.complete(find(IORING_OP_ACCEPT), -EINVAL);
  ring_.complete(find(IORING_OP_ACCEPT), -EINVAL);
  EXPECT_EQ(server_.results, Results{-EINVAL});
  EXPECT_FALSE(is_accepting());
  stop();
}

TEST_F(AcceptorTest, AnErrorIsReportedOnceAndTheNextCallTriesAgain) {
  const Task task = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  ring_.complete(find(IORING_OP_ACCEPT), -EMFILE);
  EXPECT_EQ(server_.results, Results{-EMFILE});
  EXPECT_FALSE(is_accepting());
  const Task again = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  EXPECT_TRUE(is_accepting());
  arrive();
  EXPECT_TRUE(again.finished());
  stop();
}

TEST_F(AcceptorTest, AConnectionThatWasAbortedIsNobodysError) {
  const Task task = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  ring_.complete(find(IORING_OP_ACCEPT), -ECONNABORTED);
  EXPECT_TRUE(is_accepting());
  arrive();
  EXPECT_TRUE(task.finished());
  stop();
}

TEST_F(AcceptorTest, WhenEnoughWaitItLeavesTheOthersToTheBacklog) {
  const Task first = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  Results expected{arrive()};
  expected.push_back(arrive());
  EXPECT_EQ(find(IORING_OP_ASYNC_CANCEL), SIZE_MAX);
  expected.push_back(arrive());
  ASSERT_NE(find(IORING_OP_ASYNC_CANCEL), SIZE_MAX);
  expected.push_back(arrive());  // before the kernel has seen it
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_FALSE(is_accepting());
  const Task others = server_.accept(make(), acceptor_, 3);
  ring_.settle();
  EXPECT_EQ(server_.results, expected) << "none is dropped";
  EXPECT_TRUE(is_accepting());
  stop();
}

TEST_F(AcceptorTest, AMultishotThatEndsByItselfIsSetUpAnew) {
  const Task task = server_.accept(make(), acceptor_, 2);
  ring_.settle();
  arrive(0);
  EXPECT_TRUE(is_accepting());
  arrive();
  EXPECT_TRUE(task.finished());
  stop();
}

TEST_F(AcceptorTest, AStopEndsWhoeverWaitsAndClosesTheRest) {
  const Task first = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  arrive();
  const int unwanted = arrive();
  const Task waiting = server_.accept(make(), acceptor_, 2);
  ring_.settle();
  EXPECT_FALSE(waiting.finished());
  const int late = arrive();
  const Task task = server_.stop(make(), acceptor_);
  ring_.settle();
  EXPECT_FALSE(task.finished()) << "the kernel may still accept one";
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_TRUE(task.finished());
  EXPECT_TRUE(waiting.finished());
  EXPECT_EQ(server_.results[1], unwanted);
  EXPECT_EQ(server_.results[2], late);
  stop();
}

TEST_F(AcceptorTest, WhatArrivesWhileItStopsIsClosed) {
  const Task waiting = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  const Task task = server_.stop(make(), acceptor_);
  ring_.settle();
  EXPECT_EQ(server_.results, Results{-ECANCELED});
  const int late = arrive();
  EXPECT_LT(fcntl(late, F_GETFD), 0);
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_TRUE(task.finished());
}

TEST_F(AcceptorTest, APauseKeepsWhatArrives) {
  const Task first = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  arrive();
  const int early = arrive();
  const Task task = server_.pause(make(), acceptor_);
  ring_.settle();
  const int late = arrive();
  EXPECT_FALSE(task.finished()) << "the kernel may still accept one";
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_TRUE(task.finished());
  EXPECT_FALSE(is_accepting());
  {
    const auto left = acceptor_.left();
    ASSERT_TRUE(left);
    EXPECT_EQ(left->number(), early);
    EXPECT_GE(fcntl(early, F_GETFD), 0);
  }
  const Task next = server_.accept(make(), acceptor_, 1);
  EXPECT_TRUE(next.finished());
  EXPECT_EQ(server_.results.back(), late);
  EXPECT_FALSE(acceptor_.left());
  ring_.settle();
  EXPECT_TRUE(is_accepting()) << "it goes on";
  stop();
}

TEST_F(AcceptorTest, APauseEndsAWait) {
  const Task waiting = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  const Task task = server_.pause(make(), acceptor_);
  ring_.settle();
  EXPECT_EQ(server_.results, Results{-ECANCELED});
  const int late = arrive();
  EXPECT_GE(fcntl(late, F_GETFD), 0);
  ring_.perform(find(IORING_OP_ASYNC_CANCEL));
  EXPECT_TRUE(task.finished());
  EXPECT_EQ(acceptor_.left()->number(), late);
}

TEST_F(AcceptorTest, ATimeoutEndsTheWaitAndNotTheAcceptor) {
  const Task task = server_.accept(make(), acceptor_, 1);
  ring_.settle();
  ring_.complete(find(IORING_OP_TIMEOUT), -ETIME);
  EXPECT_EQ(server_.results, Results{-ETIMEDOUT});
  EXPECT_TRUE(is_accepting());
  const int number = arrive();
  const Task next = server_.accept(make(), acceptor_, 1);
  EXPECT_TRUE(next.finished());
  EXPECT_EQ(server_.results.back(), number);
  stop();
}

TEST_F(AcceptorTest, AStopOfOneThatDoesNothingIsDoneAtOnce) { stop(); }

// --- On a real socket.

class KernelAcceptorTest : public OnKernelRing {
 protected:
  void SetUp() override {
    OnKernelRing::SetUp();
    if (IsSkipped()) return;
    listener_ = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address_);
    ASSERT_EQ(bind(listener_.number(), generic(), length), 0);
    ASSERT_EQ(getsockname(listener_.number(), generic(), &length), 0);
    ASSERT_EQ(listen(listener_.number(), 128), 0);
  }
  sockaddr* generic() { return reinterpret_cast<sockaddr*>(&address_); }
  void connect_many(int count, std::vector<Descriptor>& clients) {
    for (int i = 0; i < count; ++i) {
      clients.push_back(opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
      ASSERT_EQ(connect(clients.back().number(), generic(), sizeof(address_)), 0);
      ASSERT_EQ(write(clients.back().number(), &i, sizeof(i)), ssize_t{sizeof(i)});
    }
  }
  void run(const Task& task) {
    while (!task.finished()) ring().run_once(true);
  }

  Descriptor listener_;
  sockaddr_in address_{};
};

TEST_F(KernelAcceptorTest, EveryConnectionIsAcceptedOnce) {
  constexpr int kConnections = 100;
  TestTag tag(ring());
  TestTag stopping(ring());
  Server server;
  Acceptor acceptor(ring(), file_of(listener_), 4);
  std::vector<Descriptor> clients;
  std::thread other([&] { connect_many(kConnections, clients); });
  const Task task = server.accept(tag.make(Op::flush, 0, uint64_t{0}), acceptor, kConnections);
  run(task);
  other.join();
  std::vector<bool> seen(kConnections);
  for (const int32_t number : server.results) {
    const Descriptor socket = opened(number);
    int from = -1;
    ASSERT_EQ(recv(number, &from, sizeof(from), MSG_WAITALL), ssize_t{sizeof(from)});
    EXPECT_FALSE(seen.at(static_cast<size_t>(from)));
    seen[static_cast<size_t>(from)] = true;
    EXPECT_EQ(fcntl(number, F_GETFD), FD_CLOEXEC);
  }
  const Task stop = server.stop(stopping.make(Op::flush, 0, uint64_t{0}), acceptor);
  run(stop);
  ring().stop();
  ring().run();
}

// Without further calls of next() it stops accepting, and it continues with the next call.
TEST_F(KernelAcceptorTest, ItIsBounded) {
  TestTag tag(ring());
  TestTag other(ring());
  TestTag stopping(ring());
  Server server;
  Acceptor acceptor(ring(), file_of(listener_), 2);
  std::vector<Descriptor> clients;
  const Task first = server.accept(tag.make(Op::flush, 0, uint64_t{0}), acceptor, 1);
  connect_many(1, clients);
  run(first);
  connect_many(40, clients);
  settle();
  const Task others = server.accept(other.make(Op::flush, 0, uint64_t{0}), acceptor, 40);
  run(others);
  for (const int32_t number : server.results) EXPECT_GE(number, 0), ::close(number);
  const Task stop = server.stop(stopping.make(Op::flush, 0, uint64_t{0}), acceptor);
  run(stop);
}

}  // namespace
}  // namespace sluice::test
