#include "frontend/fuse/data_path.hpp"

#include <gtest/gtest.h>

#include "frontend/fuse/abi.hpp"
#include "frontend/fuse/handshake.hpp"

namespace sluice::fuse {
namespace {

constexpr uint64_t kAll = abi::kPassthrough | abi::kOverIoUring | abi::kIoUringPools;
constexpr uint64_t kBefore73 = abi::kPassthrough | abi::kOverIoUring;

TEST(FuseDataPath, NamesComeBack) {
  for (const std::string_view name : data_path_names()) {
    EXPECT_EQ(to_string(*parse_data_path(name)), name);
  }
  EXPECT_FALSE(parse_data_path("fastest"));
}

TEST(FuseDataPath, TakesTheBestThereIs) {
  const auto choice = choose_path({}, {.kernel_flags = kAll});
  EXPECT_EQ(choice->path, DataPath::passthrough);
  EXPECT_TRUE(choice->reason.empty());
}

TEST(FuseDataPath, SaysWhyNotABetterOne) {
  const auto lent = choose_path({}, {.kernel_flags = kAll, .bars_passthrough = "it takes root"});
  EXPECT_EQ(lent->path, DataPath::uring);
  EXPECT_EQ(lent->reason.find("not 'passthrough': it takes root; not 'uring_zc': only by name"),
            0U);
  const auto seen =
      choose_path({}, {.kernel_flags = kAll, .bars_passthrough = "a", .bars_zero_copy = "b"});
  EXPECT_EQ(seen->path, DataPath::uring);
  EXPECT_EQ(seen->reason, "not 'passthrough': a; not 'uring_zc': b");
  const auto older = choose_path({}, {.kernel_flags = kBefore73, .bars_passthrough = "a"});
  EXPECT_EQ(older->path, DataPath::uring);
  EXPECT_NE(older->reason.find("Linux 7.3"), std::string::npos);
  const auto copy = choose_path({}, {.kernel_flags = 0});
  EXPECT_EQ(copy->path, DataPath::copy);
  EXPECT_NE(copy->reason.find("enable_uring"), std::string::npos);
}

TEST(FuseDataPath, WhatTheKernelRefusesGivesWay) {
  const PathFacts facts{.kernel_flags = kBefore73, .bars_passthrough = "a", .bars_uring = "c"};
  const auto choice = choose_path({}, facts);
  EXPECT_EQ(choice->path, DataPath::copy);
  EXPECT_TRUE(choice->reason.ends_with("; not 'uring': c")) << choice->reason;
  EXPECT_EQ(choose_path(DataPath::uring, facts).error().text,
            "data path 'uring' is not possible: c");
}

TEST(FuseDataPath, RefusesWhatWasAskedForAndCannotBeHad) {
  const auto choice = choose_path(DataPath::uring, {.kernel_flags = abi::kPassthrough});
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().error, EOPNOTSUPP);
  EXPECT_TRUE(choose_path(DataPath::copy, {.kernel_flags = kAll}));
  EXPECT_EQ(choose_path(DataPath::uring_zc, {.kernel_flags = kAll})->path, DataPath::uring_zc);
  for (const uint64_t flags : {kBefore73, uint64_t{abi::kIoUringPools}}) {
    EXPECT_EQ(choose_path(DataPath::uring_zc, {.kernel_flags = flags}).error().error, EOPNOTSUPP);
  }
  const auto seen = choose_path(DataPath::uring_zc, {.kernel_flags = kAll, .bars_zero_copy = "b"});
  EXPECT_EQ(seen.error().text, "data path 'uring_zc' is not possible: b");
}

TEST(FuseHandshake, AsksOnlyForWhatIsOffered) {
  const KernelOffer old{.minor = 31, .max_readahead = 131072, .flags = FUSE_ASYNC_READ};
  const auto answer = make_answer(old, {.max_io_bytes = 1U << 20}, 64);
  EXPECT_EQ(answer.minor, 31U);
  EXPECT_EQ(answer.flags, uint32_t{FUSE_ASYNC_READ});
  EXPECT_EQ(answer.flags2, 0U);
  EXPECT_EQ(answer.max_pages, 256);
  EXPECT_EQ(answer.max_write, 1U << 20);
}

TEST(FuseHandshake, AsksForTheChosenPathAndNoOther) {
  const KernelOffer all{.minor = 45, .flags = ~uint64_t{0}};
  const auto flags = [&](DataPath path) {
    return uint64_t{make_answer(all, {.path = path, .max_io_bytes = 8192}, 64).flags2} << 32;
  };
  EXPECT_EQ(flags(DataPath::copy) & kAll, 0U);
  EXPECT_EQ(flags(DataPath::uring) & kAll, abi::kOverIoUring);
  EXPECT_EQ(flags(DataPath::uring_zc) & kAll, abi::kOverIoUring)
      << "the rest is said to the queues";
  EXPECT_EQ(flags(DataPath::passthrough) & kAll, abi::kPassthrough);
  EXPECT_EQ(make_answer(all, {.max_io_bytes = 8192}, 64).flags & FUSE_WRITEBACK_CACHE, 0U);
}

}  // namespace
}  // namespace sluice::fuse
