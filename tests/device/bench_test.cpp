// Each column of `sluice bench lend --ublk` moves the pages of real requests at the expected cost,
// and leaves no device behind.
#include <gtest/gtest.h>

#include "bench/column.hpp"
#include "frontend/ublk/control.hpp"

namespace sluice::bench {
namespace {

struct Expected {
  const ColumnType* type;
  double sqes;
  double copied_bytes;
};

class EachUblkColumn : public testing::TestWithParam<Expected> {};

TEST_P(EachUblkColumn, MovesAllBytesAndCostsWhatItShould) {
  constexpr uint32_t kDepth = 4;
  constexpr int kBatches = 10;
  const Expected& expected = GetParam();
  const auto before = ublk::Control::ids();
  {
    const auto column = expected.type->make(Pages::ublk, kDepth);
    ASSERT_TRUE(column) << column.error().text;
    ASSERT_TRUE((*column)->run_batch());
    const Counts begun = (*column)->counts();
    for (int i = 0; i < kBatches; ++i) ASSERT_TRUE((*column)->run_batch());
    const Counts spent = (*column)->counts() - begun;
    constexpr double kRequests = kDepth * kBatches;
    EXPECT_EQ(static_cast<double>(spent.sqes) / kRequests, expected.sqes);
    EXPECT_EQ(spent.cqes, spent.sqes);
    EXPECT_EQ(static_cast<double>(spent.copied_bytes) / kRequests, expected.copied_bytes);
  }
  EXPECT_EQ(ublk::Control::ids(), before);
}

INSTANTIATE_TEST_SUITE_P(Bench, EachUblkColumn,
                         testing::Values(Expected{&kGetBuf, 1, 0}, Expected{&kGetBufLinked, 1, 0},
                                         Expected{&kGetBufNop, 2, 0}, Expected{&kAutoLoan, 1, 0},
                                         Expected{&kRegisterInBatches, 3, 0},
                                         Expected{&kRegisterUseRelease, 3, 0},
                                         Expected{&kCopied, 2, kIoBytes}),
                         [](const auto& each) { return std::string(each.param.type->name); });

}  // namespace
}  // namespace sluice::bench
