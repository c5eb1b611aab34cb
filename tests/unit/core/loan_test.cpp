#include "core/loan.hpp"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <thread>

#include "core/private_loan.hpp"
#include "unit/core/lent.hpp"

namespace sluice::test {
namespace {

class LoanTest : public testing::Test {
 protected:
  std::array<std::byte, 4096> memory_{};
};

TEST_F(LoanTest, NeverLentItHasNoViews) {
  Loan loan;
  EXPECT_EQ(loan.view(0, 0).status().error(), EFAULT);
  EXPECT_EQ(loan.references(), 0U);
}

TEST_F(LoanTest, MappedMemoryHasAnAddress) {
  Lent lent(Direction::source, memory_);
  EXPECT_TRUE(lent.loan.addressable());
  EXPECT_EQ(lent.loan.address(), memory_.data());
  EXPECT_EQ(lent.loan.length(), 4096U);
  EXPECT_EQ(lent.loan.slot(), Loan::kNoSlot);
  EXPECT_FALSE(lent.loan.copy_file().valid());
}

TEST_F(LoanTest, MappedMemoryMayBeARegisteredBufferAsWell) {
  Lent lent(Direction::source, memory_, 3);
  EXPECT_TRUE(lent.loan.addressable());
  EXPECT_EQ(lent.loan.slot(), 3);
}

TEST_F(LoanTest, RegisteredPagesHaveASlotAndNoAddress) {
  Lent lent(Direction::destination, 8192, 5, {.number = 9, .registered = true}, 1 << 25);
  EXPECT_FALSE(lent.loan.addressable());
  EXPECT_EQ(lent.loan.slot(), 5);
  EXPECT_EQ(lent.loan.length(), 8192U);
  EXPECT_EQ(lent.loan.direction(), Direction::destination);
  EXPECT_EQ(lent.loan.copy_file().number, 9);
  EXPECT_EQ(lent.loan.copy_position(), 1U << 25);
}

TEST_F(LoanTest, BeingOpenIsOneReference) {
  Lent lent(Direction::source, memory_);
  EXPECT_EQ(lent.loan.references(), 1U);
}

TEST_F(LoanTest, EachViewIsOneReference) {
  Lent lent(Direction::source, memory_);
  const View one = lent.loan.view();
  const View other = lent.loan.view(0, 512);
  EXPECT_EQ(lent.loan.references(), 3U);
}

TEST_F(LoanTest, ClosedWithoutViewsItIsReturnedAtOnce) {
  Lent lent(Direction::source, memory_);
  lent.close();
  EXPECT_EQ(lent.returned_count(), 1);
  EXPECT_EQ(lent.loan.references(), 0U);
}

TEST_F(LoanTest, ClosedWithViewsItIsReturnedByTheLastOfThem) {
  Lent lent(Direction::source, memory_);
  View one = lent.loan.view();
  View other = lent.loan.view();
  lent.close();
  EXPECT_EQ(lent.returned_count(), 0);
  one.drop();
  EXPECT_EQ(lent.returned_count(), 0);
  other.drop();
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST_F(LoanTest, WithoutCloseItIsNotReturned) {
  Lent lent(Direction::source, memory_);
  lent.loan.view().drop();
  EXPECT_EQ(lent.returned_count(), 0);
}

TEST_F(LoanTest, TheLastReferenceMayGoOnAnotherThread) {
  Lent lent(Direction::source, memory_);
  View view = lent.loan.view();
  lent.close();
  std::thread other([&view] { view.drop(); });
  const std::thread::id other_id = other.get_id();
  other.join();
  EXPECT_EQ(lent.returned_count(), 1);
  EXPECT_EQ(lent.returner(), other_id);
}

TEST_F(LoanTest, AViewAfterCloseIsBroken) {
  Lent lent(Direction::source, memory_);
  lent.close();
  EXPECT_EQ(lent.loan.view().status().error(), EFAULT);
}

TEST_F(LoanTest, AViewAfterCloseIsBrokenAlsoWhileOthersAreHeld) {
  Lent lent(Direction::source, memory_);
  const View held = lent.loan.view();
  lent.close();
  EXPECT_EQ(lent.loan.view().status().error(), EFAULT);
  EXPECT_EQ(lent.loan.references(), 1U);
}

TEST_F(LoanTest, ACopyOfAViewAfterCloseIsFine) {
  Lent lent(Direction::source, memory_);
  View held = lent.loan.view();
  lent.close();
  View copy = held;
  EXPECT_TRUE(copy.status().ok());
  held.drop();
  EXPECT_EQ(lent.returned_count(), 0);
  copy.drop();
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST_F(LoanTest, AViewBeyondTheEndIsBroken) {
  Lent lent(Direction::source, memory_);
  EXPECT_EQ(lent.loan.view(0, 4097).status().error(), EFAULT);
  EXPECT_EQ(lent.loan.view(4097, 0).status().error(), EFAULT);
  EXPECT_EQ(lent.loan.view(4095, 2).status().error(), EFAULT);
}

TEST_F(LoanTest, AViewWhoseEndWrapsIsBroken) {
  Lent lent(Direction::source, memory_);
  EXPECT_EQ(lent.loan.view(1, UINT32_MAX).status().error(), EFAULT);
  EXPECT_EQ(lent.loan.view(UINT32_MAX, 1).status().error(), EFAULT);
}

TEST_F(LoanTest, ViewsMayTouchTheEnd) {
  Lent lent(Direction::source, memory_);
  EXPECT_TRUE(lent.loan.view(4096, 0).status().ok());
  EXPECT_TRUE(lent.loan.view(4095, 1).status().ok());
}

TEST_F(LoanTest, LentAgainItIsANewLoan) {
  Lent lent(Direction::destination, memory_);
  lent.loan.fill({0, 4096});
  lent.close();
  lent.lend(Direction::source, std::span(memory_).first(100), 7);
  EXPECT_EQ(lent.loan.length(), 100U);
  EXPECT_EQ(lent.loan.direction(), Direction::source);
  EXPECT_EQ(lent.loan.slot(), 7);
  EXPECT_TRUE(lent.loan.view().status().ok());
  lent.close();
  EXPECT_EQ(lent.returned_count(), 2);
}

TEST_F(LoanTest, LentAgainItMayBeOfTheOtherKind) {
  Lent lent(Direction::source, memory_);
  lent.close();
  lent.lend(Direction::source, 100, 5, {.number = 9}, 1 << 20);
  EXPECT_FALSE(lent.loan.addressable());
  lent.close();
  lent.lend(Direction::source, memory_);
  EXPECT_TRUE(lent.loan.addressable());
  EXPECT_FALSE(lent.loan.copy_file().valid());
  EXPECT_EQ(lent.loan.slot(), Loan::kNoSlot);
}

TEST_F(LoanTest, LentAgainNothingIsFilledYet) {
  Lent lent(Direction::destination, memory_);
  lent.loan.fill({0, 4096});
  lent.close();
  lent.lend(Direction::destination, memory_);
  EXPECT_EQ(lent.loan.filled_bytes(), 0U);
  lent.loan.fill({0, 100});
  lent.close();
  lent.lend(Direction::destination, memory_);
  EXPECT_EQ(lent.loan.filled_bytes(), 0U);
}

TEST_F(LoanTest, TheLenderMayLendAgainAsSoonAsItIsTold) {
  class Relender final : public Lender {
   public:
    explicit Relender(std::span<std::byte> memory) : memory_(memory) {}
    void returned(Loan& loan) noexcept override {
      if (--lend_more_ >= 0) again = loan.lend_mapped(*this, Direction::source, memory_);
    }
    View again;

   private:
    std::span<std::byte> memory_;
    int lend_more_ = 1;
  };
  Relender lender(memory_);
  Loan loan;
  View first = loan.lend_mapped(lender, Direction::source, memory_);
  first.drop();
  EXPECT_EQ(loan.references(), 1U);
  lender.again.drop();
  EXPECT_EQ(loan.references(), 0U);
}

TEST_F(LoanTest, WithoutOpenOnlyCopiesOfTheFirstViewAreThere) {
  class Counter final : public Lender {
   public:
    void returned(Loan&) noexcept override { ++count; }
    int count = 0;
  };
  Counter lender;
  Loan loan;
  View first = loan.lend_mapped(lender, Direction::source, memory_);
  EXPECT_EQ(loan.view().status().error(), EFAULT);
  View copy = first;
  EXPECT_EQ(loan.references(), 2U);
  first.drop();
  EXPECT_EQ(lender.count, 0);
  copy.drop();
  EXPECT_EQ(lender.count, 1);
}

TEST_F(LoanTest, OpenedTwiceItIsOpenUntilItIsClosedTwice) {
  Lent lent(Direction::source, memory_);
  View held = lent.loan.view();
  lent.loan.open();
  lent.close();
  EXPECT_TRUE(lent.loan.view().status().ok());
  lent.loan.close();
  EXPECT_EQ(lent.loan.view().status().error(), EFAULT);
  EXPECT_EQ(lent.returned_count(), 0);
  held.drop();
  EXPECT_EQ(lent.returned_count(), 1);
}

TEST_F(LoanTest, ALoanOfNothingIsFilled) {
  Lent lent(Direction::destination, std::span<std::byte>());
  EXPECT_TRUE(lent.loan.filled({0, 0}));
  EXPECT_EQ(lent.loan.filled_bytes(), 0U);
}

TEST_F(LoanTest, WhatWasFilledIsKnownByRange) {
  Lent lent(Direction::destination, memory_);
  lent.loan.fill({0, 1024});
  lent.loan.fill({2048, 1024});
  EXPECT_TRUE(lent.loan.filled({0, 1024}));
  EXPECT_TRUE(lent.loan.filled({2100, 10}));
  EXPECT_FALSE(lent.loan.filled({1000, 100}));
  EXPECT_FALSE(lent.loan.filled({0, 4096}));
  EXPECT_EQ(lent.loan.filled_bytes(), 2048U);
}

TEST_F(LoanTest, FilledInOnePieceItIsFilledEverywhere) {
  Lent lent(Direction::destination, memory_);
  lent.loan.fill({0, 4096});
  EXPECT_TRUE(lent.loan.filled({0, 4096}));
  EXPECT_TRUE(lent.loan.filled({17, 99}));
  EXPECT_EQ(lent.loan.filled_bytes(), 4096U);
}

TEST_F(LoanTest, FilledInPiecesItIsFilledEverywhere) {
  Lent lent(Direction::destination, memory_);
  for (uint32_t i = 0; i < 4; ++i) lent.loan.fill({(3 - i) * 1024, 1024});
  EXPECT_TRUE(lent.loan.filled({0, 4096}));
}

TEST_F(LoanTest, WhatIsBeyondTheEndIsNeverFilled) {
  Lent lent(Direction::destination, memory_);
  lent.loan.fill({0, 1024});
  EXPECT_FALSE(lent.loan.filled({UINT32_MAX, 2})) << "its end wraps";
  lent.loan.fill({4096, 1});
  lent.loan.fill({UINT32_MAX, 2});
  EXPECT_EQ(lent.loan.filled_bytes(), 1024U);
  lent.loan.fill({0, 4096});
  EXPECT_FALSE(lent.loan.filled({0, 4097}));
  EXPECT_FALSE(lent.loan.filled({4097, 1}));
  EXPECT_FALSE(lent.loan.filled({UINT32_MAX, 2}));
}

TEST_F(LoanTest, WhatCannotBeLentIsARefusedView) {
  class Nobody final : public Lender {
    void returned(Loan&) noexcept override { ADD_FAILURE() << "it was never lent"; }
  };
  Nobody lender;
  const uint64_t too_many = uint64_t{UINT32_MAX} + 1;
  Loan loan;
  // This memory is never accessed.
  const std::span<std::byte> huge(memory_.data(), too_many);
  EXPECT_EQ(loan.lend_mapped(lender, Direction::source, huge).status().error(), EINVAL);
  EXPECT_EQ(loan.lend_registered(lender, Direction::source, 1, -1).status().error(), EINVAL);
  EXPECT_EQ(loan.lend_piped(lender, Direction::source, 1).status().error(), EINVAL);
  EXPECT_EQ(loan.references(), 0U);
  PrivateLoan nothing(Direction::source, huge);
  EXPECT_EQ(nothing.view(0, 1).status().error(), EFAULT);
}

TEST_F(LoanTest, APrivateLoanEndsWithItsScope) {
  PrivateLoan zeroes(Direction::source, memory_);
  const View view = zeroes.view();
  EXPECT_EQ(view.length(), 4096U);
  EXPECT_EQ(view.loan()->direction(), Direction::source);
  EXPECT_EQ(zeroes.view(4000, 97).status().error(), EFAULT);
}

using LoanDeathTest = LoanTest;

TEST_F(LoanDeathTest, ALoanThatIsStillLentMustNotDie) {
  EXPECT_DEATH(
      {
        std::optional<Lent> lent(std::in_place, Direction::source, memory_);
        View view = lent->loan.view();
        lent.reset();
      },
      "must not die");
}

TEST_F(LoanDeathTest, ALoanIsNotLentTwiceAtATime) {
  EXPECT_DEATH(
      {
        Lent lent(Direction::source, memory_);
        lent.lend(Direction::source, memory_);
      },
      "only after it was returned");
}

}  // namespace
}  // namespace sluice::test
