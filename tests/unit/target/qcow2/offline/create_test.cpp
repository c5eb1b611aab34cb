// New images, their headers, and options that contradict each other.
#include "target/qcow2/offline/create.hpp"

#include <gmock/gmock.h>

#include "unit/target/qcow2/offline/memory_image.hpp"

namespace sluice::qcow2::test {
namespace {

using testing::HasSubstr;

void expect_refused(const CreateOptions& options, const std::string& text) {
  const auto checked = check_create_options(options);
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().text, HasSubstr(text));
}

TEST(Qcow2Create, OptionsThatContradictEachOther) {
  expect_refused({.cluster_bits = 8}, "cluster_size");
  expect_refused({.cluster_bits = 22}, "cluster_size");
  expect_refused({.refcount_order = 7}, "refcount_bits");
  expect_refused({.size_bytes = 1000}, "no multiple of 512");
  expect_refused({.version = 2, .refcount_order = 3}, "refcount_bits=16");
  expect_refused({.version = 2, .lazy_refcounts = true}, "lazy_refcounts");
  expect_refused({.version = 2, .extended_l2 = true}, "extended_l2");
  expect_refused({.version = 2, .compression = Compression::zstd}, "zstd");
  expect_refused({.version = 2, .data_file_name = "x"}, "data_file");
  expect_refused({.cluster_bits = 13, .extended_l2 = true}, "16k or more");
  expect_refused({.data_file_raw = true}, "needs data_file");
  expect_refused({.backing_name = "a", .data_file_name = "x", .data_file_raw = true}, "backing");
  expect_refused({.backing_name = "a", .preallocation = Preallocation::metadata}, "extended_l2");
  expect_refused({.backing_name = std::string(1024, 'a')}, "1024 bytes");
  expect_refused({.cluster_bits = 9, .backing_name = std::string(500, 'a')}, "more than a cluster");
  expect_refused({.size_bytes = uint64_t{1} << 40, .cluster_bits = 9}, "larger cluster_size");
}

TEST(Qcow2Create, TheHeaderIsReadAgain) {
  const MemoryImage image({.size_bytes = 5 << 20,
                           .cluster_bits = 14,
                           .refcount_order = 3,
                           .lazy_refcounts = true,
                           .extended_l2 = true,
                           .compression = Compression::zstd,
                           .backing_name = "../below.img",
                           .backing_format = "raw",
                           .data_file_name = "data"});
  EXPECT_EQ(image.header.size_bytes, 5U << 20);
  EXPECT_EQ(image.header.cluster_bits, 14U);
  EXPECT_EQ(image.header.refcount_order, 3U);
  EXPECT_EQ(image.header.incompatible, kCompressionType | kExtendedL2 | kExternalData);
  EXPECT_EQ(image.header.compatible, kLazyRefcounts);
  EXPECT_EQ(image.header.compression, Compression::zstd);
  EXPECT_EQ(image.header.backing_name, "../below.img");
  EXPECT_EQ(image.header.backing_format, "raw");
  EXPECT_EQ(image.header.data_file_name, "data");
}

TEST(Qcow2Create, TheOldVersionIsMade) {
  const MemoryImage image({.size_bytes = 1 << 20, .version = 2, .backing_name = "below"});
  EXPECT_EQ(image.header.version, 2U);
  EXPECT_EQ(image.header.header_bytes, 72U);
  EXPECT_EQ(image.header.backing_name, "below");
}

// The names of the features are left out where there is no room for them.
TEST(Qcow2Create, LongNamesFitSmallClusters) {
  const std::string name(380, 'n');
  const MemoryImage image({.size_bytes = 1 << 20, .cluster_bits = 9, .backing_name = name});
  EXPECT_EQ(image.header.backing_name, name);
}

TEST(Qcow2Create, DisksOfAnySizeHaveTables) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{512}, uint64_t{1} << 40, uint64_t{1} << 50}) {
    const MemoryImage image({.size_bytes = size, .cluster_bits = 21});
    EXPECT_GE(image.header.l1_entries, image.header.l1_entries_needed());
    EXPECT_EQ(image.header.size_bytes, size);
  }
}

}  // namespace
}  // namespace sluice::qcow2::test
