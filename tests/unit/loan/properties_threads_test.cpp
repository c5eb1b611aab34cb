// Loans used from any thread (P-16), slots that are bounded and belong to one ring (P-18), and
// limits that travel with the buffer (P-21). Run these under ThreadSanitizer as well.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <deque>
#include <random>
#include <thread>

#include "core/geometry.hpp"
#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

constexpr size_t kThreads = 4;

// Runs `work(thread)` on some threads, all at once.
template <typename Work>
void on_threads(Work work) {
  std::barrier start(kThreads);
  std::array<std::thread, kThreads> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads[thread] = std::thread([&, thread] {
      start.arrive_and_wait();
      work(thread);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(P16_AnyThread, TakesCopiesAndDropsViews) {
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  on_threads([&](size_t thread) {
    Arena arena;
    for (uint32_t i = 0; i < 5000; ++i) {
      View view = lent.loan.view(static_cast<uint32_t>(thread) * 100, 50);
      View copy = view;
      const View slice = copy.slice(10, 20, arena);
      view.drop();
      ASSERT_EQ(slice.segments()[0].offset, thread * 100 + 10);
    }
  });
  EXPECT_EQ(lent.loan.references(), 1U);
  EXPECT_EQ(lent.returned_count(), 0);
}

TEST(P16_AnyThread, MayBeTheOneThatReturnsTheLoan) {
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  for (int round = 0; round < 500; ++round) {
    if (round != 0) lent.lend(Direction::source, memory);
    std::array<View, kThreads> views;
    for (View& view : views) view = lent.loan.view();
    std::thread closer([&] { lent.close(); });
    on_threads([&](size_t thread) { views[thread].drop(); });
    closer.join();
    ASSERT_EQ(lent.returned_count(), round + 1);
    ASSERT_EQ(lent.loan.references(), 0U);
  }
}

// A holder of a view may take more views while the server closes the loan: each new view is either
// valid and counted, or broken.
TEST(P16_AnyThread, AsksForViewsWhileTheServerClosesTheLoan) {
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  for (int round = 0; round < 300; ++round) {
    if (round != 0) lent.lend(Direction::source, memory);
    std::array<View, kThreads> held;
    for (View& view : held) view = lent.loan.view();
    std::thread closer([&] { lent.close(); });
    on_threads([&](size_t thread) {
      for (int i = 0; i < 50; ++i) {
        const View more = lent.loan.view();
        if (!more.status().ok()) ASSERT_EQ(more.status().error(), EFAULT);
      }
      held[thread].drop();
    });
    closer.join();
    ASSERT_EQ(lent.returned_count(), round + 1);
  }
}

TEST(P16_AnyThread, FillsItsPartAndAllOfThemAreCounted) {
  constexpr uint32_t kPieces = 1000;
  Lent lent(Direction::destination, kThreads * kPieces * 10, 0);
  on_threads([&](size_t thread) {
    for (uint32_t i = 0; i < kPieces; ++i) {
      const uint32_t offset = (i * kThreads + static_cast<uint32_t>(thread)) * 10;
      lent.loan.fill({offset, 10});
      ASSERT_TRUE(lent.loan.filled({offset, 10}));
    }
  });
  EXPECT_TRUE(lent.loan.filled({0, lent.loan.length()}));
  EXPECT_EQ(lent.loan.filled_bytes(), lent.loan.length());
}

// Lends the same Loan again from returned(), on the thread that calls it.
class Relender final : private Lender {
 public:
  explicit Relender(std::span<std::byte> memory) : memory_(memory) { lend(); }

  // Returns views of the loan and closes it, so that the last dropped view returns the loan.
  std::vector<View> give(size_t count) {
    std::vector<View> views(count);
    for (View& view : views) view = loan_.view();
    if (++rounds_ == kRounds) lend_again_ = false;
    loan_.close();
    return views;
  }
  // True if the loan has been lent again.
  bool lent() const { return lent_.load(std::memory_order_acquire) == rounds_; }
  uint32_t references() const { return loan_.references(); }

  static constexpr int kRounds = 200;

 private:
  void returned(Loan&) noexcept override {
    if (lend_again_) lend();
  }
  void lend() {
    const View first = loan_.lend_mapped(*this, Direction::destination, memory_);
    loan_.open();
    lent_.fetch_add(1, std::memory_order_acq_rel);
  }

  Loan loan_;
  std::span<std::byte> memory_;
  int rounds_ = 0;
  bool lend_again_ = true;
  std::atomic<int> lent_ = -1;
};

TEST(P16_AnyThread, MayLendAgainWhatItReturned) {
  Bytes memory(4096);
  Relender relender(memory);
  for (int round = 0; round < Relender::kRounds; ++round) {
    ASSERT_TRUE(relender.lent());
    std::vector<View> views = relender.give(kThreads);
    on_threads([&](size_t thread) {
      views[thread].loan()->fill({static_cast<uint32_t>(thread) * 8, 8});
      views[thread].drop();
    });
  }
  EXPECT_EQ(relender.references(), 0U);
}

// Other threads, each with a ring of its own, write out the lent pages, and are their last users.
TEST(P16_AnyThread, UsesALoanOnARingOfItsOwn) {
  auto probe = KernelRing::create({});
  if (!probe) GTEST_SKIP() << probe.error().text;
  Bytes memory = pattern(65536, 1);
  Lent lent(Direction::source, memory);
  std::array<Descriptor, kThreads> files;
  for (Descriptor& file : files) file = temporary_file();
  std::array<View, kThreads> views;
  for (View& view : views) view = lent.loan.view();
  lent.close();
  std::atomic<int> failures = 0;
  on_threads([&](size_t thread) {
    auto ring = KernelRing::create({.entries = 8});
    if (!ring) return;
    const Started writing(**ring, std::move(views[thread]), [&](Request& request) {
      return request.ring->write(file_of(files[thread]), 0, std::move(request.data));
    });
    while (!writing.finished()) (*ring)->run_once(true);
    failures += writing.error() != 0;
  });
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(lent.returned_count(), 1);
  EXPECT_NE(lent.returner(), std::this_thread::get_id());
  for (const Descriptor& file : files) EXPECT_EQ(content_of(file, 65536), memory);
}

TEST(P16_AnyThread, FillsALoanFromARingOfItsOwn) {
  auto probe = KernelRing::create({});
  if (!probe) GTEST_SKIP() << probe.error().text;
  const Bytes content = pattern(kThreads * 4096, 1);
  const Descriptor file = temporary_file(content);
  Bytes memory(kThreads * 4096);
  Lent lent(Direction::destination, memory);
  on_threads([&](size_t thread) {
    auto ring = KernelRing::create({.entries = 8});
    if (!ring) return;
    const auto offset = static_cast<uint32_t>(thread) * 4096;
    const Started reading(**ring, lent.loan.view(offset, 4096), read_from(file_of(file), offset));
    while (!reading.finished()) (*ring)->run_once(true);
  });
  EXPECT_EQ(memory, content);
  EXPECT_TRUE(lent.loan.filled({0, lent.loan.length()}));
}

using P18_BoundedTable = OnKernelRing;

TEST_F(P18_BoundedTable, HasTheSlotsItWasMadeWith) {
  EXPECT_EQ(ring().free_slots(), kSlots);
  open({.slots = 100});
  EXPECT_EQ(ring().free_slots(), 100U);
}

TEST_F(P18_BoundedTable, ReachesTheKernelsCeiling) {
  open({.slots = KernelRing::kMaxSlots});
  Bytes memory(100);
  EXPECT_TRUE(ring().register_memory(16383, memory));
  EXPECT_EQ(ring().register_memory(16384, memory).error().error, EINVAL);
}

TEST_F(P18_BoundedTable, AnEmptySlotIsAFault) {
  Bytes memory(100);
  Lent lent(Direction::source, memory, 1);
  const Descriptor file = temporary_file();
  const Started writing(ring(), lent.loan.view(), write_to(file_of(file), 0));
  EXPECT_EQ(finish(writing), EFAULT);
  EXPECT_TRUE(content_of(file, 100).empty());
}

TEST_F(P18_BoundedTable, BelongsToOneRing) {
  auto other = KernelRing::create({.slots = 1});
  ASSERT_TRUE(other);
  const Descriptor file = temporary_file();
  Bytes mine = pattern(100, 1);
  Bytes theirs = pattern(100, 2);
  ASSERT_TRUE(ring().register_memory(0, mine));
  ASSERT_TRUE((*other)->register_memory(0, theirs));
  Lent lent(Direction::source, mine, 0);
  const Started here(ring(), lent.loan.view(), write_to(file_of(file), 0));
  EXPECT_EQ(finish(here), 0);
  EXPECT_EQ(content_of(file, 100), mine);
  const Started there(**other, lent.loan.view(), write_to(file_of(file), 0));
  while (!there.finished()) (*other)->run_once(true);
  EXPECT_EQ(there.error(), EFAULT) << "that memory is not in the other ring's slot";
}

// The limits of a member reach the front end through every layer above it.
TEST(P21_LimitsTravel, ThroughEveryLayer) {
  const Geometry direct_file{.memory_alignment_bytes = 512, .max_segments = 0};
  const Geometry network{.memory_alignment_bytes = 1, .max_segments = 128};
  const Geometry device{
      .memory_alignment_bytes = 4, .max_segments = 256, .max_segment_bytes = 65536};
  const Geometry root = combine(combine(direct_file, network), combine(network, device));
  EXPECT_EQ(root.memory_alignment_bytes, 512U);
  EXPECT_EQ(root.max_segments, 128U);
  EXPECT_EQ(root.max_segment_bytes, 65536U);
}

// The ring neither hides a client's alignment nor repairs it with a copy.
TEST(P21_LimitsTravel, TheBackingSeesTheClientsMemory) {
  ManualRing ring;
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring, lent.loan.view(3, 7), read_from({.number = 5}, 11));
  ring.settle();
  EXPECT_EQ(ring.sqe(0).addr, reinterpret_cast<uint64_t>(memory.data()) + 3);
  EXPECT_EQ(ring.sqe(0).len, 7U);
  EXPECT_EQ(ring.sqe(0).off, 11U);
  ring.complete(0, 7);
  EXPECT_EQ(ring.counters().copied_bytes, 0U);
}

}  // namespace
}  // namespace sluice::test
