#include "reactor/tag_loan.hpp"

#include <gtest/gtest.h>

#include <array>

#include "unit/core/allocations.hpp"

namespace sluice::test {
namespace {

// A ring whose wake() is slow, and that does nothing else.
class SlowToWake final : public Ring {
 public:
  std::atomic<bool> waking = false;

 private:
  io_uring_sqe* next_sqe() override { return nullptr; }
  void put_file(File, int) override {}
  uint32_t free_sqes() const override { return 0; }
  void enter(bool) override {}
  uint32_t reap(std::span<Cqe>) override { return 0; }
  void wake() override {
    waking.store(true);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    waking.store(false);
  }
};

// Waits for its loan, as a tag does.
struct Tag {
  struct promise_type {
    Tag get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  static Tag wait(TagLoan& loan, bool& is_back) {
    auto back = loan.back();
    co_await back;
    is_back = true;
  }
};

TEST(TagLoan, IsBackWhenWhoeverReturnsItIsDoneWithTheRing) {
  SlowToWake ring;
  TagLoan loan;
  loan.set_up(ring);
  std::array<std::byte, 512> memory{};
  loan.awaits_return();
  View view = loan->lend_mapped(loan.lender(), Direction::source, memory);
  bool is_back = false;
  Tag::wait(loan, is_back);
  EXPECT_FALSE(is_back);
  std::thread other([&] { view.drop(); });
  while (!is_back) ring.run_once(false);
  EXPECT_FALSE(ring.waking.load()) << "the ring may end now";
  other.join();
}

TEST(TagLoan, IsBackAtOnceWhereNobodyHoldsIt) {
  SlowToWake ring;
  TagLoan loan;
  loan.set_up(ring);
  std::array<std::byte, 512> memory{};
  loan.awaits_return();
  loan->lend_mapped(loan.lender(), Direction::source, memory).drop();
  bool is_back = false;
  Tag::wait(loan, is_back);
  EXPECT_TRUE(is_back);
}

// A page that a first request touches would be one that its server may have to wait for.
TEST(TagLoan, CountsTheFillsOfAFirstRequestWithoutAnAllocation) {
  SlowToWake ring;
  TagLoan loan;
  loan.set_up(ring);
  std::array<std::byte, 4096> memory{};
  loan.awaits_return();
  View view = loan->lend_mapped(loan.lender(), Direction::destination, memory);
  const uint64_t before = allocations();
  for (const uint32_t offset : {0U, 1024U, 2048U}) loan->fill({offset, 512});
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(loan->filled_bytes(), 3U * 512);
  view.drop();
}

}  // namespace
}  // namespace sluice::test
