// What a check finds in images that were damaged at one place. Whether QEMU finds the same:
// tests/interop/qcow2_tools.sh.
#include "target/qcow2/offline/check.hpp"

#include <gmock/gmock.h>

#include <chrono>

#include "unit/target/qcow2/offline/memory_image.hpp"

namespace sluice::qcow2::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

CheckResult check(const MemoryImage& image) {
  const auto found = check_image(image.descriptor());
  EXPECT_TRUE(found) << found.error().text;
  return found ? found->result : CheckResult{};
}

// The figures, and a sentence with the text.
void expect_found(const MemoryImage& image, uint64_t corruptions, uint64_t leaks,
                  const std::string& text) {
  const CheckResult result = check(image);
  EXPECT_EQ(result.corruptions, corruptions) << testing::PrintToString(result.sentences);
  EXPECT_EQ(result.leaks, leaks) << testing::PrintToString(result.sentences);
  EXPECT_EQ(result.check_errors, 0U);
  EXPECT_THAT(result.sentences, Contains(HasSubstr(text)));
}

TEST(Qcow2Check, NewImagesAreClean) {
  for (uint32_t cluster_bits = kClusterBitsMin; cluster_bits <= kClusterBitsMax; ++cluster_bits) {
    for (uint32_t order = 0; order <= 6; ++order) {
      for (const auto how : {Preallocation::off, Preallocation::metadata}) {
        const MemoryImage image({.size_bytes = 3 << 20,
                                 .cluster_bits = cluster_bits,
                                 .refcount_order = order,
                                 .preallocation = how});
        const CheckResult result = check(image);
        EXPECT_TRUE(result.clean())
            << cluster_bits << " " << order << " " << testing::PrintToString(result.sentences);
        EXPECT_EQ(result.image_end_offset, image.size());
        const uint64_t all = how == Preallocation::off ? 0 : result.total_clusters;
        EXPECT_EQ(result.allocated_clusters, all);
        EXPECT_EQ(result.fragmented_clusters, 0U);
      }
    }
  }
}

TEST(Qcow2Check, FindsRefcountsThatAreTooLow) {
  const MemoryImage image(small_and_full());
  image.set_refcount(image.host_cluster(7), 0);
  expect_found(image, 2, 0, "has refcount 0, but 1 references");  // and its flag
}

TEST(Qcow2Check, FindsRefcountsThatAreTooHigh) {
  const MemoryImage image(small_and_full());
  image.set_refcount(image.host_cluster(7), 2);
  expect_found(image, 1, 1, "has refcount 2, but 1 references");
}

TEST(Qcow2Check, FindsLeaks) {
  const MemoryImage image(small_and_full());
  const uint64_t cluster = image.host_cluster(7);
  image.set_number(image.l2_place(7), 0);
  expect_found(image, 0, 1, "has refcount 1, but 0 references");
  EXPECT_NE(cluster, 0U);
}

TEST(Qcow2Check, FindsWrongFlags) {
  const MemoryImage image(small_and_full());
  image.set_number(image.l2_place(7), image.number(image.l2_place(7)) & ~kCopied);
  expect_found(image, 1, 0, "the flag COPIED");
  image.set_number(image.l1_place(1), image.number(image.l1_place(1)) & ~kCopied);
  expect_found(image, 2, 0, "the flag COPIED");
}

TEST(Qcow2Check, FindsReservedBits) {
  const MemoryImage image(small_and_full());
  image.set_number(image.l2_place(7), image.number(image.l2_place(7)) | 2);
  expect_found(image, 1, 0, "has reserved bits set");
  image.set_number(image.l1_place(1), image.number(image.l1_place(1)) | 1);
  expect_found(image, 2, 0, "of the L1 table has reserved bits set");
}

TEST(Qcow2Check, FindsWhatIsBeyondTheFile) {
  const MemoryImage image(small_and_full());
  image.set_number(image.l2_place(7), uint64_t{1} << 40);
  expect_found(image, 1, 1, "is beyond the end of the file");
  // The L2 table cannot be read, so what it refers to seems to be leaked.
  image.set_number(image.l1_place(1), uint64_t{1} << 40);
  const auto found = check_image(image.descriptor());
  EXPECT_FALSE(found->complete);
}

TEST(Qcow2Check, FindsOverlapsWithMetadata) {
  for (const uint64_t place : {uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{4}}) {
    const MemoryImage image(small_and_full());
    image.set_number(image.l2_place(7), place * image.header.cluster_bytes() | kCopied);
    const CheckResult result = check(image);
    EXPECT_GE(result.corruptions, 1U) << place;
    EXPECT_THAT(result.sentences, Contains(HasSubstr("exclude each other"))) << place;
  }
}

TEST(Qcow2Check, FindsClustersThatAreNotAligned) {
  const MemoryImage image(small_and_full());
  image.set_number(image.l2_place(7), image.number(image.l2_place(7)) + 512);
  EXPECT_THAT(check(image).sentences, Contains(HasSubstr("is not aligned")));
}

TEST(Qcow2Check, FindsInvalidSubclusters) {
  const MemoryImage image({.size_bytes = 4 << 20,
                           .cluster_bits = 14,
                           .extended_l2 = true,
                           .preallocation = Preallocation::metadata});
  EXPECT_TRUE(check(image).clean());
  image.set_number(image.l2_place(3) + 8, uint64_t{1} << 32 | 1);
  expect_found(image, 1, 0, "both allocated and zero");
  image.set_number(image.l2_place(3) + 8, 0);
  image.set_number(image.l2_place(4), 0);
  image.set_number(image.l2_place(4) + 8, 1);
  expect_found(image, 1, 1, "but no cluster");
}

TEST(Qcow2Check, DataInAnotherFileHasNoRefcounts) {
  const MemoryImage image({.size_bytes = 4 << 20,
                           .cluster_bits = 12,
                           .data_file_name = "data",
                           .preallocation = Preallocation::metadata});
  CheckResult result = check(image);
  EXPECT_TRUE(result.clean());
  EXPECT_EQ(result.allocated_clusters, 1024U);
  image.set_number(image.l2_place(7), image.number(image.l2_place(7)) & ~kCopied);
  expect_found(image, 1, 0, "wrong flag COPIED");
  image.set_number(image.l2_place(7), kCompressed | 4096);
  expect_found(image, 1, 0, "is compressed, but the data is in another file");
}

TEST(Qcow2Check, CompressedClustersCountAllThatTheyTouch) {
  const MemoryImage image(small_and_full());
  const uint64_t cluster = image.host_cluster(7);
  const uint32_t shift = 62 - (12 - 8);
  // From the last sector of one cluster to the first one of the next: these have two users then.
  const uint64_t offset = (cluster + 1) * 4096 - 512;
  image.set_number(image.l2_place(7), kCompressed | uint64_t{1} << shift | offset);
  const auto found = check_image(image.descriptor());
  EXPECT_EQ(found->references.at(cluster).count, 1U);
  EXPECT_EQ(found->references.at(cluster + 1).count, 2U);
  EXPECT_EQ(found->result.compressed_clusters, 1U);
}

TEST(Qcow2Check, ManySentencesAreCutShort) {
  const MemoryImage image(small_and_full());
  for (uint64_t i = 0; i < 300; ++i) image.set_number(image.l2_place(i), 0);
  const CheckResult result = check(image);
  EXPECT_EQ(result.leaks, 300U);
  EXPECT_EQ(result.sentences.size(), CheckResult::kSentencesMax);
  EXPECT_EQ(result.more_sentences, 200U);
}

// T4.18: 262144 entries of the L1 table refer to one L2 table, which takes no more time than one.
TEST(Qcow2Check, ATableIsReadOnce) {
  const MemoryImage image({.size_bytes = uint64_t{1} << 50, .cluster_bits = 21});
  const uint64_t table = image.size();
  EXPECT_TRUE(
      write_image(image.descriptor(), table, std::vector<std::byte>(image.header.cluster_bytes())));
  for (uint64_t i = 0; i < image.header.l1_entries; ++i) image.set_number(image.l1_place(i), table);
  const auto begin = std::chrono::steady_clock::now();
  expect_found(image, 1, 0, "has refcount 0, but 2048 references");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

// T4.18
TEST(Qcow2Check, ALargeSparseFileTakesLittle) {
  const MemoryImage image(small_and_full());
  ASSERT_EQ(ftruncate(image.descriptor(), off_t{1} << 50), 0);
  const auto found = check_image(image.descriptor());
  EXPECT_TRUE(found->result.clean());
  EXPECT_LT(found->references.groups().size(), 100U);
}

}  // namespace
}  // namespace sluice::qcow2::test
