// The ring itself on the kernel's io_uring: creation, limits, waiting, signals, threads.
#include "ring/kernel_ring.hpp"
#include "ring/raw_operation.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <deque>
#include <optional>
#include <thread>

#include "core/bounded_look.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using KernelRingTest = OnKernelRing;
using std::chrono::milliseconds;

Started::Make sleep_for(std::chrono::nanoseconds duration) {
  return [=](Request& request) { return request.ring->sleep(duration); };
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST_F(KernelRingTest, WithoutEntriesItIsNotCreated) {
  const auto made = KernelRing::create({.entries = 0});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().error, EINVAL);
}

TEST_F(KernelRingTest, WithABadFileItIsNotCreated) {
  const std::array files{99999};
  const auto made = KernelRing::create({.files = files});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().error, EBADF);
  EXPECT_NE(made.error().text.find("2 files"), std::string::npos) << made.error().text;
}

// Otherwise the files of a server would stay open after its death.
TEST_F(KernelRingTest, AHelperThatOutlivesAServerDoesNotKeepItsRings) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const pid_t server = fork();
  if (server == 0) {
    const auto ring = KernelRing::create({.files = std::span(&ends[1], 1)});
    const auto hang = [](size_t) { return pause(), std::string(); };
    [[maybe_unused]] const auto looks =
        look_bounded(1, hang, {.each = milliseconds(4'000), .all = milliseconds(100)});
    kill(getpid(), SIGKILL);
  }
  writing = Descriptor();
  waitpid(server, nullptr, 0);
  pollfd writer{.fd = reading.number(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&writer, 1, 2'000), 1) << "the ring is still there";
  EXPECT_NE(writer.revents & POLLHUP, 0);
}

TEST_F(KernelRingTest, ItsBufferTableMayHave16384Slots) {
  open({.slots = KernelRing::kMaxSlots});
  EXPECT_EQ(ring().free_slots(), 16384U);
}

TEST_F(KernelRingTest, WithMoreSlotsItIsNotCreated) {
  const auto ring = KernelRing::create({.slots = KernelRing::kMaxSlots + 1});
  ASSERT_FALSE(ring);
  EXPECT_EQ(ring.error().error, EINVAL);
}

TEST_F(KernelRingTest, KnowsTheZeroDeviceBehindTheGivenFiles) {
  const Descriptor file = temporary_file(repeated(10, 1));
  const std::array files{file.number(), file.number()};
  open({.files = files});
  EXPECT_EQ(ring().abilities().zero.number, 2);
  Bytes memory = repeated(100, 9);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from(ring().abilities().zero, 0));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_TRUE(all_are(memory, 0));
}

TEST_F(KernelRingTest, ASleepTakesItsTime) {
  const auto before = std::chrono::steady_clock::now();
  const Started sleeping(ring(), sleep_for(milliseconds(30)));
  EXPECT_EQ(finish(sleeping), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - before, milliseconds(30));
}

TEST_F(KernelRingTest, ASleepCanBeCancelled) {
  Started sleeping(ring(), sleep_for(std::chrono::hours(10)));
  settle();
  sleeping.cancel();
  EXPECT_EQ(finish(sleeping), ECANCELED);
}

TEST_F(KernelRingTest, AnIdleRingUsesNoProcessor) {
  const Started sleeping(ring(), sleep_for(milliseconds(200)));
  ring().stop();
  const double before = cpu_seconds();
  ring().run();
  EXPECT_EQ(sleeping.error(), 0);
  EXPECT_LT(cpu_seconds() - before, 0.05);
}

TEST_F(KernelRingTest, AnIdleRingDoesNotGoRound) {
  const Started sleeping(ring(), sleep_for(milliseconds(50)));
  ring().stop();
  const uint64_t before = ring().counters().enters;
  ring().run();
  EXPECT_LE(ring().counters().enters - before, 5U);
}

// Acquires a slot, releases it, and ends.
class Borrower {
 public:
  Task run(Request& request) {
    auto acquiring = request.ring->acquire_slot();
    const int slot = co_await acquiring;
    request.ring->release_slot(slot);
    co_return kOk;
  }
};

TEST_F(KernelRingTest, ARingDoesNotSleepWhileSomethingIsReady) {
  open({.slots = 1});
  Arena arena;
  Request request;
  request.ring = &ring();
  request.arena = &arena;
  request.ready = &ring().ready();
  auto first = ring().acquire_slot();
  ASSERT_TRUE(first.await_ready());
  Borrower borrower;
  const Task waiting = borrower.run(request);
  settle();
  EXPECT_FALSE(waiting.finished());
  ring().release_slot(first.await_resume());
  ring().run_once(true);  // nothing will ever complete
  EXPECT_TRUE(waiting.finished());
}

TEST_F(KernelRingTest, LookingWithoutWaitingDoesNotBlock) {
  Started sleeping(ring(), sleep_for(std::chrono::hours(10)));
  for (int i = 0; i < 100; ++i) ring().run_once(false);
  EXPECT_FALSE(sleeping.finished());
  sleeping.cancel();
  EXPECT_EQ(finish(sleeping), ECANCELED);
}

// With DEFER_TASKRUN completions appear only when the ring enters the kernel.
TEST_F(KernelRingTest, LookingWithoutWaitingSeesCompletionsThatCameLater) {
  const Pair pipe = pipe_ends();
  Bytes memory(1);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(pipe.near), 0));
  settle();
  ASSERT_FALSE(reading.finished());
  ASSERT_EQ(write(pipe.far.number(), "x", 1), 1);
  settle();
  EXPECT_EQ(reading.error(), 0);
  finish(reading);
}

TEST_F(KernelRingTest, ASignalWhileItWaitsChangesNothing) {
  struct sigaction action{};
  struct sigaction old{};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, &old), 0);
  const Started sleeping(ring(), sleep_for(milliseconds(100)));
  const pthread_t self = pthread_self();
  std::thread other([self] {
    for (int i = 0; i < 5; ++i) {
      std::this_thread::sleep_for(milliseconds(10));
      pthread_kill(self, SIGUSR1);
    }
  });
  EXPECT_EQ(finish(sleeping), 0);
  other.join();
  sigaction(SIGUSR1, &old, nullptr);
}

// Reads a file that never waits: on a tmpfs each read would go to a worker thread.
TEST_F(KernelRingTest, ABatchNeedsFewSystemCalls) {
  open({.entries = 64});
  const Descriptor file(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  settle();  // hands over the doorbell
  const uint64_t before = ring().counters().enters;
  std::deque<Started> started;
  for (uint32_t i = 0; i < 50; ++i) {
    started.emplace_back(ring(), lent.loan.view(i, 1), read_from(file_of(file), i));
  }
  for (const Started& one : started) EXPECT_EQ(finish(one), 0);
  EXPECT_LE(ring().counters().enters - before, 10U) << "for 50 operations";
}

TEST_F(KernelRingTest, TenThousandOperationsGoThroughSmallQueues) {
  open({.entries = 8, .cq_entries = 16});
  const Bytes content = pattern(10000, 1);
  const Descriptor file = temporary_file(content);
  Bytes memory(10000);
  Lent lent(Direction::destination, memory);
  std::deque<std::optional<Started>> started;
  for (uint32_t i = 0; i < 10000; ++i) {
    started.emplace_back(std::in_place, ring(), lent.loan.view(i, 1), read_from(file_of(file), i));
  }
  for (const auto& one : started) {
    while (!one->finished()) {
      ASSERT_LE(ring().in_flight(), 16U);
      ring().run_once(true);
    }
    ASSERT_EQ(one->error(), 0);
  }
  EXPECT_EQ(memory, content);
  EXPECT_EQ(lent.loan.filled_bytes(), 10000U);
}

TEST_F(KernelRingTest, MoreParkedOperationsThanThereIsRoomForWaitTheirTurn) {
  open({.entries = 4, .cq_entries = 4});
  const Pair pipe = pipe_ends();
  Bytes memory(20);
  Lent lent(Direction::destination, memory);
  std::deque<Started> started;
  for (uint32_t i = 0; i < 20; ++i) {
    started.emplace_back(ring(), lent.loan.view(i, 1), read_from(file_of(pipe.near), 0));
  }
  settle();
  EXPECT_TRUE(ring().waiting());
  EXPECT_EQ(ring().in_flight(), 4U);
  Bytes content = pattern(20, 1);
  ASSERT_EQ(write(pipe.far.number(), content.data(), 20), 20);
  for (const Started& one : started) EXPECT_EQ(finish(one), 0);
  std::ranges::sort(memory);  // the order of the kernel's wake-ups is unspecified
  std::ranges::sort(content);
  EXPECT_EQ(memory, content);
}

TEST_F(KernelRingTest, AbandonedItDiesWithWhatIsInFlight) {
  const Pair pipe = pipe_ends();
  const std::array files{pipe.near.number()};
  for (const bool registered : {false, true}) {
    open({.files = files});
    io_uring_sqe sqe{};
    char byte = 0;
    io_uring_prep_read(&sqe, registered ? 0 : pipe.near.number(), &byte, 1, 0);
    if (registered) sqe.flags |= IOSQE_FIXED_FILE;
    RawOperation parked(ring(), sqe);  // not awaited, so no frame is leaked
    ring().submit(parked);
    settle();
    ring().abandon();
    ring().run();
    EXPECT_GT(ring().in_flight(), 1U);
    close();
  }
}

// Each of two threads has its own ring and copies its own file, checking every block.
TEST(KernelRingThreads, TwoRingsOnTwoThreadsDoNotMeet) {
  std::atomic<int> failures = 0;
  const auto copy_file = [&failures](uint32_t seed) {
    auto ring = KernelRing::create({.entries = 16});
    if (!ring) return;
    const Bytes content = pattern(1 << 18, seed);
    const Descriptor from = temporary_file(content);
    const Descriptor to = temporary_file();
    Bytes memory(4096);
    Lent lent(Direction::destination, memory);
    for (uint32_t offset = 0; offset < content.size(); offset += 4096) {
      lent.close();
      lent.lend(Direction::destination, memory);
      const Started reading(**ring, lent.loan.view(), read_from(file_of(from), offset));
      while (!reading.finished()) (*ring)->run_once(true);
      Lent source(Direction::source, memory);
      const Started writing(**ring, source.loan.view(), write_to(file_of(to), offset));
      while (!writing.finished()) (*ring)->run_once(true);
      failures += reading.error() != 0 || writing.error() != 0;
    }
    failures += content_of(to, content.size()) != content;
  };
  std::thread other(copy_file, 1);
  copy_file(2);
  other.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace sluice::test
