// Refcounts of all widths.
#include "target/qcow2/refcount_block.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {
namespace {

uint64_t largest_refcount(uint32_t order) { return Header{.refcount_order = order}.refcount_max(); }

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
  std::vector<std::byte> bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(Qcow2Refcounts, LargestOfEachWidth) {
  const uint64_t largest[] = {1, 3, 15, 255, 65535, UINT32_MAX, UINT64_MAX};
  for (uint32_t order = 0; order <= 6; ++order) EXPECT_EQ(largest_refcount(order), largest[order]);
}

// T4.12
TEST(Qcow2Refcounts, SmallOnesBeginAtTheLeastSignificantBit) {
  const auto bytes = bytes_of({0b10110001, 0x4e});
  const unsigned ones[] = {1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0};
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(get_refcount(bytes, 0, i), ones[i]) << i;
  const unsigned pairs[] = {1, 0, 3, 2, 2, 3, 0, 1};
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(get_refcount(bytes, 1, i), pairs[i]) << i;
  const unsigned nibbles[] = {0x1, 0xb, 0xe, 0x4};
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(get_refcount(bytes, 2, i), nibbles[i]) << i;
}

TEST(Qcow2Refcounts, LargeOnesAreBigEndian) {
  const auto bytes = bytes_of({0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef});
  EXPECT_EQ(get_refcount(bytes, 3, 7), 0xefU);
  EXPECT_EQ(get_refcount(bytes, 4, 1), 0x4567U);
  EXPECT_EQ(get_refcount(bytes, 5, 1), 0x89abcdefU);
  EXPECT_EQ(get_refcount(bytes, 6, 0), 0x0123456789abcdefU);
}

// T4.12
TEST(Qcow2Refcounts, ANewOneLeavesItsNeighbours) {
  for (uint32_t order = 0; order <= 6; ++order) {
    std::mt19937_64 random(order);
    std::vector<std::byte> bytes(512);
    std::vector<uint64_t> expected(bytes.size() * 8 >> order);
    for (size_t round = 0; round < 3 * expected.size(); ++round) {
      const size_t index = random() % expected.size();
      expected[index] = random() & largest_refcount(order);
      set_refcount(bytes, order, index, expected[index]);
    }
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(get_refcount(bytes, order, i), expected[i]) << "order " << order << ", " << i;
    }
  }
}

// T4.12: every cluster of a new image has the refcount 1, and none behind its end.
TEST(Qcow2Refcounts, QemuAgrees) {
  if (!has_qemu_img()) GTEST_SKIP() << kNeedsQemuImg;
  for (uint32_t order = 0; order <= 6; ++order) {
    const std::vector<std::byte> image =
        made_by_qemu("-o refcount_bits=" + std::to_string(1U << order) + " 1M");
    const Header header = parse_header(image, image.size()).value_or(Header{});
    ASSERT_EQ(header.refcount_order, order);
    const auto block_at =
        load_big_endian<uint64_t>(image, static_cast<size_t>(header.refcount_table_offset));
    const auto block = std::span(image).subspan(static_cast<size_t>(block_at),
                                                static_cast<size_t>(header.cluster_bytes()));
    for (uint64_t i = 0; i < 16; ++i) {
      EXPECT_EQ(get_refcount(block, order, i), i < 4 ? 1U : 0U) << "order " << order << ", " << i;
    }
  }
}

}  // namespace
}  // namespace sluice::qcow2::test
