// Refused operations: they end with the right errno, before a byte moves, and without an SQE.
#include <gtest/gtest.h>

#include <array>

#include "support/manual_ring.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

class RefusalTest : public testing::Test {
 protected:
  // Starts the operation, which must end at once, and returns its errno.
  int refusal_of(View data, Started::Make make) {
    const Started started(ring_, std::move(data), std::move(make));
    EXPECT_TRUE(started.finished());
    EXPECT_EQ(started.moved_bytes(), 0U);
    ring_.settle();
    EXPECT_EQ(ring_.counters().submitted, 0U);
    return started.error();
  }

  ManualRing ring_;
  Bytes memory_ = pattern(4096, 1);
  Bytes other_ = repeated(4096, 0xaa);
  Lent source_{Direction::source, memory_};
  Lent destination_{Direction::destination, memory_};
  Lent registered_source_{Direction::source, 4096, 9};
  Lent registered_destination_{Direction::destination, 4096, 9};
};

TEST_F(RefusalTest, NothingFillsASource) {
  for (Lent* const lent : {&source_, &registered_source_}) {
    EXPECT_EQ(refusal_of(lent->loan.view(), read_from(kManualFile, 0)), EACCES);
    EXPECT_EQ(refusal_of(lent->loan.view(), recv_from(kManualFile)), EACCES);
    EXPECT_EQ(refusal_of(lent->loan.view(), copy_in_from(other_)), EACCES);
    EXPECT_EQ(refusal_of(lent->loan.view(), zero_it()), EACCES);
    EXPECT_EQ(lent->loan.filled_bytes(), 0U);
  }
  EXPECT_EQ(memory_, pattern(4096, 1));
}

TEST_F(RefusalTest, NothingIsTakenFromADestination) {
  for (Lent* const lent : {&destination_, &registered_destination_}) {
    EXPECT_EQ(refusal_of(lent->loan.view(), write_to(kManualFile, 0)), EACCES);
    EXPECT_EQ(refusal_of(lent->loan.view(), send_to(kManualFile)), EACCES);
    EXPECT_EQ(refusal_of(lent->loan.view(), send_zc_to(kManualFile)), EACCES);
    EXPECT_EQ(refusal_of(lent->loan.view(), copy_out_to(other_)), EACCES);
  }
  EXPECT_EQ(other_, repeated(4096, 0xaa));
}

TEST_F(RefusalTest, ABrokenViewIsAFault) {
  const View too_long = destination_.loan.view(4000, 97);
  EXPECT_EQ(refusal_of(too_long, read_from(kManualFile, 0)), EFAULT);
  EXPECT_EQ(refusal_of(too_long, recv_from(kManualFile)), EFAULT);
  EXPECT_EQ(refusal_of(too_long, zero_it()), EFAULT);
  EXPECT_EQ(refusal_of(source_.loan.view(4000, 97), write_to(kManualFile, 0)), EFAULT);
  EXPECT_EQ(refusal_of(source_.loan.view(4000, 97), send_to(kManualFile)), EFAULT);
  EXPECT_EQ(refusal_of(source_.loan.view(4000, 97), send_zc_to(kManualFile)), EFAULT);
}

TEST_F(RefusalTest, AViewThatNeverWasIsAFault) {
  EXPECT_EQ(refusal_of(View(), read_from(kManualFile, 0)), EFAULT);
  EXPECT_EQ(refusal_of(View(), write_to(kManualFile, 0)), EFAULT);
}

TEST_F(RefusalTest, AViewOfAClosedLoanIsAFault) {
  source_.close();
  EXPECT_EQ(refusal_of(source_.loan.view(), write_to(kManualFile, 0)), EFAULT);
}

// The memory has the requested length; the broken view does not.
TEST_F(RefusalTest, CopyingWithABrokenViewIsAFault) {
  const std::span<std::byte> memory = std::span(other_).first(97);
  EXPECT_EQ(refusal_of(destination_.loan.view(4000, 97), copy_in_from(memory)), EFAULT);
  EXPECT_EQ(refusal_of(source_.loan.view(4000, 97), copy_out_to(memory)), EFAULT);
  EXPECT_EQ(other_, repeated(4096, 0xaa));
}

TEST_F(RefusalTest, WithoutACopyFileRegisteredPagesCannotBeCopied) {
  EXPECT_EQ(refusal_of(registered_source_.loan.view(), copy_out_to(other_)), EOPNOTSUPP);
  EXPECT_EQ(refusal_of(registered_destination_.loan.view(), copy_in_from(other_)), EOPNOTSUPP);
}

TEST_F(RefusalTest, WithoutFixedSocketsRegisteredPagesCannotBeSentOrReceived) {
  ring_.change_abilities({});
  EXPECT_EQ(refusal_of(registered_source_.loan.view(), send_to(kManualFile)), EOPNOTSUPP);
  EXPECT_EQ(refusal_of(registered_destination_.loan.view(), recv_from(kManualFile)), EOPNOTSUPP);
}

TEST_F(RefusalTest, WithoutAZeroDeviceRegisteredPagesCannotBeCleared) {
  ring_.change_abilities({});
  EXPECT_EQ(refusal_of(registered_destination_.loan.view(), zero_it()), EOPNOTSUPP);
}

TEST_F(RefusalTest, TheDirectionCountsEvenWhereNothingWouldMove) {
  EXPECT_EQ(refusal_of(source_.loan.view(0, 0), read_from(kManualFile, 0)), EACCES);
}

TEST_F(RefusalTest, ARefusedOperationGivesItsReferenceBack) {
  EXPECT_EQ(refusal_of(source_.loan.view(), read_from(kManualFile, 0)), EACCES);
  EXPECT_EQ(source_.loan.references(), 1U);
}

}  // namespace
}  // namespace sluice::test
