#include "target/qcow2/compress.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "target/qcow2/decompress.hpp"
#include "target/qcow2/l2_entry.hpp"

namespace sluice::qcow2 {
namespace {

// Bytes of which a share is random.
std::vector<std::byte> content(size_t size, uint32_t random_percent, std::mt19937& random) {
  std::vector<std::byte> bytes(size);
  for (std::byte& each : bytes) {
    each = static_cast<std::byte>(random() % 100 < random_percent ? random() % 256 : 'a');
  }
  return bytes;
}

TEST(Compress, IsUndoneByDecompress) {
  std::mt19937 random(1);
  for (const Compression type : {Compression::zlib, Compression::zstd}) {
    if (!load_decompressor(type)) continue;  // without libzstd
    for (uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
      const size_t size = size_t{1} << bits;
      const auto cluster = content(size, 20, random);
      std::vector<std::byte> stream(size - 1);
      const size_t length = compress(type, cluster, stream);
      ASSERT_NE(length, 0U) << bits;
      std::vector<std::byte> expanded(size);
      ASSERT_TRUE(decompress(type, std::span(stream).first(length), expanded).ok()) << bits;
      ASSERT_EQ(expanded, cluster) << bits;
    }
  }
}

TEST(Compress, RandomDataDoesNotFit) {
  std::mt19937 random(2);
  for (const Compression type : {Compression::zlib, Compression::zstd}) {
    if (!load_decompressor(type)) continue;
    const auto cluster = content(65536, 100, random);
    std::vector<std::byte> stream(cluster.size() - 1);
    EXPECT_EQ(compress(type, cluster, stream), 0U);
    // Nor does that leave anything behind.
    const std::vector<std::byte> zeroes(65536);
    EXPECT_LT(compress(type, zeroes, stream), 200U);
  }
}

TEST(Compress, TheEntryLeadsToTheStream) {
  std::mt19937_64 random(3);
  for (uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    const uint64_t cluster = uint64_t{1} << bits;
    for (int i = 0; i < 1000; ++i) {
      const uint64_t offset = random() % (uint64_t{1} << 40);
      const uint64_t length = 1 + random() % (cluster - 1);
      const L2Entry entry = L2Entry::of_stream(offset, length, bits);
      ASSERT_TRUE(entry.is_compressed());
      ASSERT_FALSE(entry.is_copied());
      const CompressedPlace place = entry.compressed_place(bits);
      ASSERT_EQ(place.offset, offset);
      // Up to the end of its last sector.
      ASSERT_EQ(offset + place.length, (offset + length + 511) / 512 * 512);
    }
  }
}

}  // namespace
}  // namespace sluice::qcow2
