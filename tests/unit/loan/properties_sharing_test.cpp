// Several consumers of one loan (P-7), parked ones (P-10), their order (P-11), and stopping between
// them (P-13).
//
// P-11 also describes a chained mode whose chain stops on an error or a short result. Here a chain
// is a coroutine that awaits one operation after the other; above the ring there are no short
// results, so only errors stop it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>

#include "core/gather.hpp"
#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using P07_SeveralConsumers = OnKernelRing;

TEST_F(P07_SeveralConsumers, TwoFilesAndASocketGetTheSameBufferInOneBatch) {
  const Descriptor first = temporary_file();
  const Descriptor second = temporary_file();
  const Pair sockets = stream_sockets();
  Bytes memory = pattern(65536, 1);
  ASSERT_TRUE(ring().register_memory(0, memory));
  Lent lent(Direction::source, memory, 0);
  settle();
  const uint64_t before = ring().counters().submitted;
  const Started left(ring(), lent.loan.view(), pass_on_to(file_of(first)));
  const Started right(ring(), lent.loan.view(), pass_on_to(file_of(second), 4096));
  const Started third(ring(), lent.loan.view(), [&](Request& request) {
    return request.ring->send(file_of(sockets.near), std::move(request.data));
  });
  lent.close();
  EXPECT_EQ(ring().counters().submitted, before + 3) << "before any of them was handed over";
  EXPECT_EQ(lent.returned_count(), 0);
  EXPECT_EQ(finish(left), 0);
  EXPECT_EQ(finish(right), 0);
  Bytes got;
  while (got.size() < memory.size()) {
    const Bytes some = received_by(sockets.far);
    got.insert(got.end(), some.begin(), some.end());
    settle();
  }
  EXPECT_EQ(finish(third), 0);
  EXPECT_EQ(lent.returned_count(), 1);
  EXPECT_EQ(content_of(first, 65536), memory);
  EXPECT_EQ(content_of(second, 65536, 4096), memory);
  EXPECT_EQ(got, memory);
}

TEST_F(P07_SeveralConsumers, DifferentPartsGoToDifferentFiles) {
  std::vector<Descriptor> files(4);
  for (Descriptor& file : files) file = temporary_file();
  Bytes memory = pattern(4096, 1);
  Lent lent(Direction::source, memory);
  std::deque<Started> writes;
  for (uint32_t i = 0; i < 4; ++i) {
    writes.emplace_back(ring(), lent.loan.view(i * 1024, 1024), pass_on_to(file_of(files[i])));
  }
  lent.close();
  for (const Started& write : writes) EXPECT_EQ(finish(write), 0);
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(content_of(files[i], 4096), part(memory, size_t{i} * 1024, 1024));
  }
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST_F(P07_SeveralConsumers, OneThatFailsDoesNotDisturbTheOthers) {
  const Descriptor file = temporary_file();
  const Descriptor full = opened(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  Bytes memory = pattern(4096, 1);
  Lent lent(Direction::source, memory);
  const Started bad(ring(), lent.loan.view(), pass_on_to(file_of(full)));
  const Started good(ring(), lent.loan.view(), pass_on_to(file_of(file)));
  lent.close();
  EXPECT_EQ(finish(bad), ENOSPC);
  EXPECT_EQ(finish(good), 0);
  EXPECT_EQ(content_of(file, 4096), memory);
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST_F(P07_SeveralConsumers, FillDifferentPartsOfAReadBuffer) {
  const Descriptor file = temporary_file(pattern(4096, 1));
  const Pair sockets = stream_sockets();
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(0, 2048), read_from(file_of(file), 0));
  const Started receiving(ring(), lent.loan.view(2048, 2048), recv_from(file_of(sockets.far)));
  ASSERT_EQ(write(sockets.near.number(), pattern(2048, 2).data(), 2048), 2048);
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(part(memory, 0, 2048), part(pattern(4096, 1), 0, 2048));
  EXPECT_EQ(part(memory, 2048, 2048), pattern(2048, 2));
  EXPECT_TRUE(lent.loan.filled({0, 4096}));
}

TEST(P07_SeveralConsumersInAnyOrder, TheLastOfThemReturnsTheBuffer) {
  std::array<size_t, 4> order{0, 1, 2, 3};
  do {
    ManualRing ring;
    Bytes memory(4096);
    Lent lent(Direction::source, memory);
    std::deque<Started> writes;
    for (int i = 0; i < 4; ++i)
      writes.emplace_back(ring, lent.loan.view(), pass_on_to(kManualFile));
    lent.close();
    ring.settle();
    std::vector<size_t> pending{0, 1, 2, 3};
    for (const size_t write : order) {
      ASSERT_EQ(lent.returned_count(), 0);
      const auto place = std::ranges::find(pending, write);
      ring.complete(static_cast<size_t>(place - pending.begin()), 4096);
      pending.erase(place);
    }
    ASSERT_EQ(lent.returned_count(), 1);
  } while (std::ranges::next_permutation(order).found);
}

using P10_ParkedOperations = OnKernelRing;

TEST_F(P10_ParkedOperations, KeepTheirReference) {
  const Pair sockets = stream_sockets();
  Bytes memory(100);
  Lent lent(Direction::destination, memory);
  const Started receiving(ring(), lent.loan.view(), [&](Request& request) {
    return request.ring->recv(file_of(sockets.far), std::move(request.data));
  });
  lent.close();
  settle();
  EXPECT_EQ(lent.loan.references(), 1U);
  ASSERT_EQ(write(sockets.near.number(), pattern(100, 1).data(), 100), 100);
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST_F(P10_ParkedOperations, AreCancelledAndGiveTheirReferenceBack) {
  const Pair sockets = stream_sockets();
  Bytes memory = repeated(100, 0xee);
  Lent lent(Direction::destination, memory);
  Started receiving(ring(), lent.loan.view(), [&](Request& request) {
    return request.ring->recv(file_of(sockets.far), std::move(request.data));
  });
  lent.close();
  settle();
  receiving.cancel();
  EXPECT_EQ(finish(receiving), ECANCELED);
  EXPECT_EQ(lent.returned_count(), 1);
  ASSERT_EQ(write(sockets.near.number(), pattern(100, 1).data(), 100), 100);
  settle();
  EXPECT_TRUE(all_are(memory, 0xee)) << "no byte after it was returned";
}

TEST_F(P10_ParkedOperations, GoOnInTheSamePlaceWhenTheyAreReady) {
  const Pair sockets = stream_sockets();
  Bytes memory(1000);
  Lent lent(Direction::destination, memory);
  const Started receiving(ring(), lent.loan.view(), recv_from(file_of(sockets.far)));
  const Bytes content = pattern(1000, 1);
  for (size_t offset = 0; offset < 1000; offset += 100) {
    settle();
    ASSERT_EQ(write(sockets.near.number(), content.data() + offset, 100), 100);
  }
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(memory, content);
}

TEST_F(P10_ParkedOperations, DoNotKeepOthersOfTheSameLoanFromEnding) {
  const Pair sockets = stream_sockets();
  const Descriptor file = temporary_file(pattern(100, 1));
  Bytes memory(200);
  Lent lent(Direction::destination, memory);
  Started parked(ring(), lent.loan.view(0, 100), recv_from(file_of(sockets.far)));
  const Started reading(ring(), lent.loan.view(100, 100), read_from(file_of(file), 0));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_FALSE(parked.finished());
  parked.cancel();
  EXPECT_EQ(finish(parked), ECANCELED);
}

TEST(P10_LateNotification, KeepsTheReferenceOfAZeroCopySend) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  const Started sending(ring, lent.loan.view(), [](Request& request) {
    return request.ring->send_zc(kManualFile, std::move(request.data));
  });
  const Started writing(ring, lent.loan.view(), pass_on_to(kManualFile));
  lent.close();
  ring.settle();
  ring.complete(0, 4096, IORING_CQE_F_MORE);
  ring.complete(1, 4096);
  EXPECT_EQ(writing.error(), 0);
  EXPECT_EQ(lent.returned_count(), 0) << "the socket still holds the pages";
  ring.complete(0, 0, IORING_CQE_F_NOTIF);
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST(P11_Order, SubmissionsAreInTheOrderInWhichTheyWereAwaited) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  std::deque<Started> writes;
  for (uint64_t i = 0; i < 20; ++i)
    writes.emplace_back(ring, lent.loan.view(), write_to(kManualFile, i));
  ring.settle();
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(ring.sqe(i).off, i);
  while (ring.pending() != 0) ring.complete(0, 4096);
}

TEST(P11_Order, LendUseAndReturnInOneBatchBehaveAsIfInOrder) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  const Started writing(ring, lent.loan.view(), pass_on_to(kManualFile));
  lent.close();  // before the kernel has seen the write
  const Started late(ring, lent.loan.view(), write_to(kManualFile, 0));
  ring.settle();
  EXPECT_EQ(late.error(), EFAULT);
  ASSERT_EQ(ring.pending(), 1U);
  ring.complete(0, 4096);
  EXPECT_EQ(writing.error(), 0);
  EXPECT_EQ(lent.returned_count(), 1);
}

using P11_OrderOnKernelRing = OnKernelRing;

// If the second operation of a batch were issued before the first, it would park.
TEST_F(P11_OrderOnKernelRing, ABatchIsIssuedInItsOrder) {
  const Pair pipe = pipe_ends();
  Bytes from = pattern(100, 1);
  Bytes to(100);
  Lent source(Direction::source, from);
  Lent destination(Direction::destination, to);
  settle();
  const uint64_t before = ring().counters().enters;
  const Started writing(ring(), source.loan.view(), write_to(file_of(pipe.far), 0));
  const Started reading(ring(), destination.loan.view(), read_from(file_of(pipe.near), 0));
  ring().run_once(true);
  EXPECT_EQ(ring().counters().enters, before + 1);
  EXPECT_EQ(writing.error(), 0);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(to, from);
}

// Writes to one file, then to another.
class Chain {
 public:
  Task submit(Request& request) {
    auto first = request.ring->write({.number = 5}, 0, request.data);
    const Status status = co_await first;
    if (!status.ok()) co_return status;
    auto second = request.ring->write({.number = 6}, 0, request.data);
    const Status last = co_await second;
    co_return last;
  }
};

class P11_Chain : public testing::Test {
 protected:
  P11_Chain() {
    request_.ring = &ring_;
    request_.arena = &arena_;
    request_.ready = &ring_.ready();
    request_.data = lent_.loan.view();
  }

  ManualRing ring_;
  Arena arena_;
  Bytes memory_ = Bytes(4096);
  Lent lent_{Direction::source, memory_};
  Request request_;
  Chain chain_;
};

TEST_F(P11_Chain, GoesOnAfterSuccessOnly) {
  const Task task = chain_.submit(request_);
  ring_.settle();
  EXPECT_EQ(ring_.pending(), 1U);
  ring_.complete(0, -EIO);
  EXPECT_EQ(ring_.pending(), 0U);
  EXPECT_EQ(task.status().error(), EIO);
}

TEST_F(P11_Chain, IsNotBrokenByAShortResult) {
  const Task task = chain_.submit(request_);
  ring_.settle();
  ring_.complete(0, 1);
  EXPECT_EQ(ring_.sqe(0).fd, 5);
  ring_.complete(0, 4095);
  EXPECT_EQ(ring_.sqe(0).fd, 6);
  ring_.complete(0, 4096);
  EXPECT_TRUE(task.status().ok());
}

// Reads the first bytes of a write, and then chooses the file for the write.
class Inspector {
 public:
  Inspector(File low, File high) : low_(low), high_(high) {}

  Task submit(Request& request) {
    auto copying = request.ring->copy_out(request.data.slice(0, 4, *request.arena), head);
    const Status copied = co_await copying;
    if (!copied.ok()) co_return copied;
    const File file = head[0] < std::byte{128} ? low_ : high_;
    auto writing = request.ring->write(file, 0, request.data);
    const Status status = co_await writing;
    co_return status;
  }

  std::array<std::byte, 4> head{};

 private:
  File low_;
  File high_;
};

using P13_StopInTheMiddle = OnKernelRing;

TEST_F(P13_StopInTheMiddle, AFewBytesOfAWriteAreLookedAtAndItGoesOn) {
  const Descriptor low = temporary_file();
  const Descriptor high = temporary_file();
  for (const uint8_t first : {uint8_t{5}, uint8_t{200}}) {
    Bytes memory = repeated(4096, first);
    Lent lent(Direction::source, memory);
    Arena arena;
    Request request;
    request.ring = &ring();
    request.arena = &arena;
    request.ready = &ring().ready();
    request.data = lent.loan.view();
    Inspector inspector(file_of(low), file_of(high));
    const Task task = inspector.submit(request);
    while (!task.finished()) ring().run_once(true);
    EXPECT_TRUE(task.status().ok());
    EXPECT_EQ(inspector.head[3], std::byte{first});
    EXPECT_EQ(content_of(first < 128 ? low : high, 4096), memory);
  }
}

TEST_F(P13_StopInTheMiddle, NotWithAReadBuffer) {
  Bytes memory = repeated(4096, 5);
  Lent lent(Direction::destination, memory);
  Bytes head = repeated(4, 0xee);
  const Started copying(ring(), lent.loan.view(0, 4), copy_out_to(head));
  EXPECT_EQ(copying.error(), EACCES);
  EXPECT_TRUE(all_are(head, 0xee));
}

}  // namespace
}  // namespace sluice::test
