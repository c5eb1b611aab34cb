// `sluice bench lend`: its claims about findings, and columns that move all bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/claim.hpp"
#include "bench/table.hpp"
#include "core/descriptor.hpp"

namespace sluice::bench {
namespace {

using testing::HasSubstr;

// The rates of the mail, for which the claims are known.
Findings mail() {
  Findings found{.plan = {.depths = {1, 2, 4, 8, 16, 32}, .runs = 1},
                 .columns = {&kSpliceTwice, &kOpSplice, &kGetBuf, &kGetBufLinked, &kGetBufNop},
                 .cells = {}};
  const std::vector<std::vector<double>> rows{
      {5009035, 3697020, 3886356, 4616123, 2886171}, {4859523, 5205564, 5309510, 5591521, 4139125},
      {4908353, 6265771, 6415036, 6331249, 5198505}, {4955003, 7141326, 7243434, 6850088, 5984588},
      {4959496, 7640409, 7794564, 7208221, 6587212}, {4937463, 7868501, 8103406, 7385890, 6844390}};
  for (const auto& row : rows) {
    found.cells.emplace_back();
    for (const double rate : row) {
      found.cells.back().push_back({.rates = {rate}, .requests = 2, .counts = {.sqes = 4}});
    }
  }
  return found;
}

TEST(BenchTable, HasTheMailsLayout) {
  const std::string text = table_text(mail());
  EXPECT_THAT(
      text, HasSubstr("QD | splice2() | OP_SPLICE | OP_GET_BUF | GET_BUF, link | GET_BUF + nop\n"
                      " 1 |   5009035 |   3697020 |    3886356 |       4616123 |       2886171\n"));
  EXPECT_THAT(text, HasSubstr("\n32 |   4937463 |"));
}

TEST(BenchTable, SaysOfTheMailThatItsShapeHolds) {
  const auto said = claims(mail());
  ASSERT_EQ(said.size(), 4U);
  for (const Claim& each : said) EXPECT_TRUE(each.holds) << each.claim << ": " << each.found;
}

TEST(BenchTable, SaysWhatDoesNotHold) {
  Findings other = mail();
  std::swap(other.cells[5][1], other.cells[5][2]);  // OP_SPLICE is faster at depth 32
  other.cells[3][0].rates = {9e6};                  // splice(2) is not flat
  const auto said = claims(other);
  EXPECT_FALSE(said[0].holds);
  EXPECT_FALSE(said[1].holds);
  EXPECT_TRUE(said[2].holds);
  EXPECT_THAT(table_text(other), HasSubstr("NO  (i) "));
}

TEST(BenchTable, HoldsTheLoanAgainstTheLimitFromDepthEightOn) {
  Findings found{
      .plan = {.depths = {1, 8, 32}, .runs = 2}, .columns = {&kAutoLoan, &kBareWrite}, .cells = {}};
  for (const double rate : {50.0, 90.0, 89.0}) {
    found.cells.push_back(
        {{.rates = {rate, rate}, .requests = 1}, {.rates = {100, 100}, .requests = 1}});
  }
  const auto said = aims(found);
  ASSERT_EQ(said.size(), 2U);
  EXPECT_TRUE(said[0].holds);
  EXPECT_FALSE(said[1].holds);
  EXPECT_EQ(table_json(found).at("aims").items.size(), 2U);
}

TEST(BenchTable, MedianAndSpreadAreThoseOfTheRuns) {
  const Cell odd{.rates = {30, 10, 20}};
  EXPECT_EQ(odd.median(), 20);
  EXPECT_EQ(odd.spread(), 1);
  const Cell even{.rates = {40, 10, 20, 30}};
  EXPECT_EQ(even.median(), 25);
}

struct Expected {
  const ColumnType* type;
  double sqes;
  double enters;  // at depth 4
  double other_calls;
  double copied_bytes;
};

class EachColumn : public testing::TestWithParam<Expected> {};

// A file in memory of the given size, with a path by which it can be opened.
class Image {
 public:
  explicit Image(off_t bytes) : file_(memfd_create("claim", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(file_.number(), bytes), 0);
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_.number()); }

 private:
  const Descriptor file_;
};

TEST(BenchClaim, OnlyTheServerThatCopiesCopies) {
  const Image image(8 << 20);
  const auto cells =
      run_claim({.milliseconds = 10, .runs = 1}, image.path(), [](const std::string&) {});
  ASSERT_TRUE(cells) << cells.error().text;
  ASSERT_EQ(cells->size(), 8U);
  for (const ClaimCell& cell : *cells) {
    EXPECT_EQ(cell.copied_bytes_per_io, cell.copies ? cell.bytes : 0);
    EXPECT_EQ(cell.mib_per_s.size(), 1U);
    EXPECT_GT(cell.mib_per_s.front(), 0);
  }
  EXPECT_THAT(claim_text(*cells), HasSubstr("512K write, copied"));
  EXPECT_EQ(claim_json(*cells).items.size(), 8U);
}

TEST(BenchClaim, AFileThatIsTooSmallIsRefused) {
  const Image image(1 << 20);
  const auto cells =
      run_claim({.milliseconds = 10, .runs = 1}, image.path(), [](const std::string&) {});
  ASSERT_FALSE(cells);
  EXPECT_THAT(cells.error().text, HasSubstr("at least 8 MiB"));
}

// The numbers of operations per request do not depend on the machine.
TEST_P(EachColumn, MovesAllBytesAndCostsWhatItShould) {
  constexpr uint32_t kDepth = 4;
  constexpr int kBatches = 10;
  const Expected& expected = GetParam();
  const auto column = expected.type->make(Pages::memory, kDepth);
  if (!column) GTEST_SKIP() << column.error().text;
  ASSERT_TRUE((*column)->run_batch());
  const Counts before = (*column)->counts();
  for (int i = 0; i < kBatches; ++i) ASSERT_TRUE((*column)->run_batch());
  const Counts spent = (*column)->counts() - before;
  constexpr double kRequests = kDepth * kBatches;
  EXPECT_EQ(static_cast<double>(spent.sqes) / kRequests, expected.sqes);
  EXPECT_EQ(spent.cqes, spent.sqes);
  EXPECT_EQ(static_cast<double>(spent.enters) / kRequests, expected.enters);
  EXPECT_EQ(static_cast<double>(spent.other_calls) / kRequests, expected.other_calls);
  EXPECT_EQ(static_cast<double>(spent.copied_bytes) / kRequests, expected.copied_bytes);
}

TEST(BenchColumns, OfTheDriversCommandsTakeItsPages) {
  for (const ColumnType* const type : {&kRegisterInBatches, &kRegisterUseRelease}) {
    const auto column = type->make(Pages::memory, 1);
    ASSERT_FALSE(column);
    EXPECT_EQ(column.error().error, EOPNOTSUPP);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Bench, EachColumn,
    testing::Values(Expected{&kSpliceTwice, 0, 0, 2, 0}, Expected{&kOpSplice, 2, 0.5, 0, 0},
                    Expected{&kGetBuf, 1, 0.25, 0, 0}, Expected{&kGetBufLinked, 1, 0.25, 0, 0},
                    Expected{&kGetBufNop, 2, 0.5, 0, 0}, Expected{&kAutoLoan, 1, 0.25, 0, 0},
                    Expected{&kCopied, 1, 0.25, 0, kIoBytes}, Expected{&kBareWrite, 1, 0.25, 0, 0}),
    [](const auto& each) { return std::string(each.param.type->name); });

}  // namespace
}  // namespace sluice::bench
