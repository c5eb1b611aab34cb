// Streams of compressed clusters: sound, damaged, too short and too long.
#include "target/qcow2/decompress.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <random>
#include <string>
#include <thread>

#include "target/qcow2/l2_entry.hpp"
#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {
namespace {

const Status kDamaged = Status::from_errno(EIO);

// Neither a few repeated bytes nor noise.
std::string numbers_until(size_t bytes) {
  std::string text;
  for (int number = 1; text.size() < bytes; ++number) text += std::to_string(number) + "\n";
  text.resize(bytes);
  return text;
}

std::string noise_of(size_t bytes) {
  std::mt19937 random(1);
  std::string text(bytes, '\0');
  std::ranges::generate(text, [&] { return static_cast<char>(random()); });
  return text;
}

std::string deflated(std::string_view text, int window_bits = -12) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(text.size() * 2 + 100, '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string little_endian_text(uint64_t number, int bytes) {
  std::string text = big_endian_text(number, bytes);
  std::ranges::reverse(text);
  return text;
}

std::string zstd_block(bool is_last, uint32_t type, size_t bytes) {
  return little_endian_text((is_last ? 1 : 0) | type << 1 | bytes << 3, 3);
}

// A frame of uncompressed blocks.
std::string zstd_frame(std::string_view text) {
  std::string frame = "\x28\xb5\x2f\xfd\xa0" + little_endian_text(text.size(), 4);
  do {
    const std::string_view block = text.substr(0, 65536);
    text.remove_prefix(block.size());
    frame += zstd_block(text.empty(), 0, block.size()) + std::string(block);
  } while (!text.empty());
  return frame;
}

// A frame of one block that repeats a byte, and asks for a window of 2 GiB.
std::string zstd_repeat(char byte, size_t bytes) {
  return std::string("\x28\xb5\x2f\xfd\0\xa8", 6) + zstd_block(true, 1, bytes) + byte;
}

std::string zstd_skipped(size_t bytes) {
  return "\x5a\x2a\x4d\x18" + little_endian_text(bytes, 4) + std::string(bytes, 's');
}

struct Decompressed {
  Status status;
  std::string cluster;
};

// The bytes behind the cluster stay as they were, and the stream is not read beyond its end.
Decompressed decompressed(Compression type, const std::string& stream, size_t cluster_bytes) {
  const std::vector<char> exact(stream.begin(), stream.end());
  std::string memory(cluster_bytes + 64, '#');
  const auto cluster = std::as_writable_bytes(std::span(memory)).first(cluster_bytes);
  const Status status = decompress(type, std::as_bytes(std::span(exact)), cluster);
  EXPECT_EQ(memory.substr(cluster_bytes), std::string(64, '#'));
  memory.resize(cluster_bytes);
  return {status, memory};
}

class Qcow2Decompress : public testing::TestWithParam<Compression> {
 protected:
  static std::string compressed(const std::string& text) {
    return GetParam() == Compression::zstd ? zstd_frame(text) : deflated(text);
  }
  static Decompressed decompress_cluster(const std::string& stream, size_t cluster_bytes) {
    return decompressed(GetParam(), stream, cluster_bytes);
  }
};

std::string name_of_type(const testing::TestParamInfo<Compression>& info) {
  return info.param == Compression::zstd ? "zstd" : "zlib";
}

INSTANTIATE_TEST_SUITE_P(Types, Qcow2Decompress,
                         testing::Values(Compression::zlib, Compression::zstd), name_of_type);

TEST_P(Qcow2Decompress, ClustersOfAllSizes) {
  ASSERT_TRUE(load_decompressor(GetParam()).has_value());
  for (size_t bytes = 512; bytes <= 2 << 20; bytes *= 2) {
    for (const std::string& text : {numbers_until(bytes), noise_of(bytes)}) {
      const auto [status, cluster] = decompress_cluster(compressed(text), bytes);
      EXPECT_EQ(status, kOk) << bytes;
      EXPECT_TRUE(cluster == text) << bytes;
    }
  }
}

// T4.23: the descriptor counts whole sectors.
TEST_P(Qcow2Decompress, OtherBytesMayFollow) {
  const std::string text = numbers_until(4096);
  const auto [status, cluster] = decompress_cluster(compressed(text) + noise_of(8192), 4096);
  EXPECT_EQ(status, kOk);
  EXPECT_EQ(cluster, text);
}

// T4.23
TEST_P(Qcow2Decompress, ATooShortStreamIsAnError) {
  const std::string text = numbers_until(4096);
  const std::string stream = compressed(text);
  EXPECT_EQ(decompress_cluster(stream, 4097).status, kDamaged);
  EXPECT_EQ(decompress_cluster(stream, 8192).status, kDamaged);
  EXPECT_EQ(decompress_cluster("", 4096).status, kDamaged);
  for (size_t bytes = 0; bytes < stream.size() - 8; bytes += 7) {
    EXPECT_EQ(decompress_cluster(stream.substr(0, bytes), 4096).status, kDamaged) << bytes;
  }
}

TEST_P(Qcow2Decompress, DamageIsAnError) {
  EXPECT_EQ(decompress_cluster(std::string(4096, '\xff'), 4096).status, kDamaged);
  EXPECT_EQ(decompress_cluster(noise_of(4096), 4096).status, kDamaged);
  EXPECT_EQ(decompress_cluster(std::string(4096, '\0'), 4096).status, kDamaged);
  // The next stream is read nevertheless.
  const std::string text = numbers_until(4096);
  EXPECT_EQ(decompress_cluster(compressed(text), 4096).cluster, text);
}

TEST_P(Qcow2Decompress, EveryThreadForItself) {
  const std::string text = numbers_until(65536);
  const std::string stream = compressed(text);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, type = GetParam()] {
      for (int round = 0; round < 20; ++round) {
        EXPECT_TRUE(decompressed(type, stream, 65536).cluster == text);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// As QEMU does: what a program that knows larger clusters has written is cut off.
TEST(Qcow2Inflate, ALongerStreamFillsTheCluster) {
  const std::string text = numbers_until(8192);
  const auto [status, cluster] = decompressed(Compression::zlib, deflated(text), 4096);
  EXPECT_EQ(status, kOk);
  EXPECT_EQ(cluster, text.substr(0, 4096));
}

TEST(Qcow2Inflate, ALargerWindowIsRead) {
  const std::string half = noise_of(30000);
  const std::string stream = deflated(half + half, -15);
  ASSERT_LT(stream.size(), 31000U);
  const auto [status, cluster] = decompressed(Compression::zlib, stream, 60000);
  EXPECT_EQ(status, kOk);
  EXPECT_TRUE(cluster == half + half);
}

TEST(Qcow2Inflate, AHeaderOfZlibIsDamage) {
  EXPECT_EQ(decompressed(Compression::zlib, deflated(numbers_until(4096), 12), 4096).status,
            kDamaged);
}

TEST(Qcow2Zstd, SeveralFrames) {
  const std::string text = numbers_until(4096);
  const auto [status, cluster] = decompressed(
      Compression::zstd,
      zstd_skipped(9) + zstd_frame(text) + zstd_frame("") + zstd_repeat('r', 4096) + "rest", 8192);
  EXPECT_EQ(status, kOk);
  EXPECT_EQ(cluster, text + std::string(4096, 'r'));
}

TEST(Qcow2Zstd, ALongerFrameIsDamage) {
  EXPECT_EQ(decompressed(Compression::zstd, zstd_frame(numbers_until(8192)), 4096).status,
            kDamaged);
  EXPECT_EQ(decompressed(Compression::zstd, zstd_repeat('r', 4097), 4096).status, kDamaged);
}

TEST(Qcow2Zstd, ManyEmptyFramesEnd) {
  std::string stream;
  while (stream.size() < 4 << 20) stream += zstd_frame("");
  EXPECT_EQ(decompressed(Compression::zstd, stream, 4096).status, kDamaged);
}

// What preceded version 0.8, which libzstd may still read.
TEST(Qcow2Zstd, OlderFormatsAreRefused) {
  std::string stream = zstd_frame(numbers_until(4096));
  for (char version = '\x22'; version <= '\x27'; ++version) {
    stream[0] = version;
    EXPECT_EQ(decompressed(Compression::zstd, stream, 4096).status, kDamaged);
  }
}

// Each cluster of an image that qemu-img has compressed.
TEST_P(Qcow2Decompress, ImagesOfQemu) {
  if (!has_qemu_img()) GTEST_SKIP() << kNeedsQemuImg;
  const size_t disk_bytes = 4 * kCluster;
  const std::string type = GetParam() == Compression::zstd ? "zstd" : "zlib";
  const std::vector<std::byte> image =
      made_by_qemu("1M",
                   "seq 1 100000 | head -c 256K >raw && qemu-img convert -f raw -c -O qcow2 "
                   "-o compression_type=" +
                       type + " raw $img");
  const Header header = parse_header(image, image.size()).value_or(Header{});
  ASSERT_EQ(header.compression, GetParam());
  ASSERT_EQ(header.size_bytes, disk_bytes);
  const auto l2 = load_big_endian<uint64_t>(image, static_cast<size_t>(header.l1_offset));
  std::string disk;
  for (size_t i = 0; i < 4; ++i) {
    const L2Entry entry = {
        .entry = load_big_endian<uint64_t>(image, static_cast<size_t>(l2 & kOffsetMask) + 8 * i)};
    ASSERT_TRUE(entry.is_compressed());
    const CompressedPlace place = entry.compressed_place(header.cluster_bits);
    const auto stream = std::span(image).subspan(static_cast<size_t>(place.offset));
    const size_t bytes = std::min<size_t>(stream.size(), place.length);
    std::string cluster(kCluster, '\0');
    EXPECT_EQ(
        decompress(GetParam(), stream.first(bytes), std::as_writable_bytes(std::span(cluster))),
        kOk);
    disk += cluster;
  }
  EXPECT_TRUE(disk == numbers_until(disk_bytes));
}

}  // namespace
}  // namespace sluice::qcow2::test
