// The header: what is read, and each rule whose breach is refused by name. T4.n are the known
// faults of other implementations.
#include "target/qcow2/header.hpp"

#include <gmock/gmock.h>

#include <string>

#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {
namespace {

using namespace std::string_view_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

Header header_of_qemu(const std::string& options, const std::string& commands = "") {
  const std::vector<std::byte> file = made_by_qemu(options, commands);
  const auto start = std::span(file).first(std::min<size_t>(file.size(), 512));
  const Result<uint64_t> needed = header_bytes_needed(start);
  EXPECT_TRUE(needed.has_value()) << needed.error().text;
  const Result<Header> header =
      parse_header(std::span(file).first(needed.value_or(0)), file.size());
  EXPECT_TRUE(header.has_value()) << header.error().text;
  return header.value_or(Header{});
}

TEST(Qcow2Header, BothVersionsAreRead) {
  const Header second = header_of(ImageBytes(2));
  EXPECT_EQ(second.version, 2U);
  EXPECT_EQ(second.refcount_order, 4U);
  EXPECT_EQ(second.header_bytes, 72U);
  EXPECT_EQ(second.incompatible | second.compatible | second.autoclear, 0U);
  const Header third = header_of(ImageBytes(3).put(kRefcountOrderAt, 6U));
  EXPECT_EQ(third.version, 3U);
  EXPECT_EQ(third.refcount_order, 6U);
  EXPECT_EQ(third.header_bytes, 104U);
  EXPECT_EQ(third.size_bytes, kCluster * 8192);
  EXPECT_EQ(third.l1_entries, 1U);
  EXPECT_EQ(third.l1_offset, 3 * kCluster);
  EXPECT_EQ(third.refcount_table_offset, kCluster);
  EXPECT_EQ(third.refcount_table_clusters, 1U);
}

TEST(Qcow2Header, ImagesOfQemuAreRead) {
  if (!has_qemu_img()) GTEST_SKIP() << kNeedsQemuImg;
  const Header usual = header_of_qemu("1G");
  EXPECT_EQ(usual.version, 3U);
  EXPECT_EQ(usual.size_bytes, 1U << 30);
  EXPECT_EQ(usual.l1_entries, 2U);
  EXPECT_TRUE(usual.backing_name.empty());
  EXPECT_EQ(header_of_qemu("-o compat=0.10 1G").version, 2U);
  EXPECT_EQ(header_of_qemu("0").l1_entries, 0U);
  EXPECT_EQ(header_of_qemu("-o cluster_size=512 3M").cluster_bits, 9U);
  EXPECT_EQ(header_of_qemu("-o cluster_size=2M 3G").cluster_bits, 21U);
  EXPECT_EQ(header_of_qemu("-o refcount_bits=1 1M").refcount_order, 0U);
  EXPECT_EQ(header_of_qemu("-o compression_type=zstd 1M").compression, Compression::zstd);
  EXPECT_EQ(header_of_qemu("-o lazy_refcounts=on 1M").compatible, kLazyRefcounts);
  EXPECT_TRUE(header_of_qemu("-o extended_l2=on,cluster_size=16k 1M").has(kExtendedL2));

  const Header overlay = header_of_qemu("-u -b base.img -F raw 1M");
  EXPECT_EQ(overlay.backing_name, "base.img");
  EXPECT_EQ(overlay.backing_format, "raw");
  const Header external = header_of_qemu("-o data_file=data.raw,data_file_raw=on 1M");
  EXPECT_TRUE(external.has(kExternalData));
  EXPECT_EQ(external.autoclear, kRawExternalData);
  EXPECT_EQ(external.data_file_name, "data.raw");
  const Header rich =
      header_of_qemu("1M", "qemu-img snapshot -c one $img && qemu-img bitmap --add $img dirty");
  EXPECT_EQ(rich.snapshots, 1U);
  ASSERT_TRUE(rich.bitmaps.has_value());
  EXPECT_EQ(rich.bitmaps->count, 1U);
  EXPECT_GT(rich.bitmaps->directory_bytes, 24U);
}

TEST(Qcow2Header, NoImageAtAll) {
  const auto refusal = [](const ImageBytes& image) { return image.refusal(); };
  EXPECT_EQ(refusal(ImageBytes().put(0, 0x514649faU)),
            "EINVAL: the magic is 0x514649fa, and that of a qcow2 image is 0x514649fb");
  EXPECT_EQ(refusal(ImageBytes().put(kVersionAt, 1U)), "EINVAL: version is 1, and must be 2 or 3");
  EXPECT_EQ(refusal(ImageBytes().put(kVersionAt, 4U)), "EINVAL: version is 4, and must be 2 or 3");
  const auto of_length = [](size_t bytes) {
    const std::vector<std::byte> start(bytes);
    return header_bytes_needed(start).error().text;
  };
  EXPECT_EQ(of_length(0), "the file has 0 bytes, and the header of a qcow2 image has at least 72");
  EXPECT_THAT(of_length(71), HasSubstr("71 bytes"));
  EXPECT_THAT(of_length(72), HasSubstr("magic"));
}

// T4.19: a shift by any number.
TEST(Qcow2Header, ClusterBits) {
  for (const uint32_t bits : {0U, 8U, 22U, 31U, 64U, UINT32_MAX}) {
    EXPECT_EQ(ImageBytes().put(kClusterBitsAt, bits).refusal(),
              "EINVAL: cluster_bits is " + std::to_string(bits) + ", and must be 9 to 21");
  }
  EXPECT_EQ(header_of(ImageBytes(3, 9)).cluster_bytes(), 512U);
  EXPECT_EQ(header_of(ImageBytes(3, 21)).cluster_bytes(), 2U << 20);
}

TEST(Qcow2Header, FileShorterThanACluster) {
  EXPECT_THAT(ImageBytes().file_bytes(kCluster - 1).refusal(),
              HasSubstr("the file has 65535 bytes, which is less than a cluster of 65536"));
  const std::vector<std::byte> start = [] {
    std::vector<std::byte> bytes(512);
    store_big_endian(std::span(bytes), 0, kMagic);
    store_big_endian(std::span(bytes), kVersionAt, 3U);
    store_big_endian(std::span(bytes), kClusterBitsAt, 16U);
    return bytes;
  }();
  EXPECT_EQ(header_bytes_needed(start).value_or(0), kCluster);
  EXPECT_THAT(parse_header(start, 512).error().text, HasSubstr("the file has 512 bytes"));
}

TEST(Qcow2Header, HeaderLength) {
  for (const uint32_t bytes : {0U, 72U, 96U, 103U, 105U, 108U, 520U, UINT32_MAX}) {
    EXPECT_THAT(ImageBytes(3, 9).put(kHeaderBytesAt, bytes).refusal(),
                StartsWith("EINVAL: header_length is " + std::to_string(bytes) +
                           ", and must be a multiple of 8 from 104 to 512"));
  }
  EXPECT_EQ(header_of(ImageBytes(3, 9).put(kHeaderBytesAt, 112U)).header_bytes, 112U);
  EXPECT_EQ(header_of(ImageBytes(3, 9).put(kHeaderBytesAt, 512U)).header_bytes, 512U);
}

// 16 bytes: where the LUKS header is.
std::string luks_place(uint64_t offset, uint64_t bytes) {
  std::string place;
  for (const uint64_t number : {offset, bytes}) {
    for (int shift = 56; shift >= 0; shift -= 8) place += static_cast<char>(number >> shift);
  }
  return place;
}

TEST(Qcow2Header, EncryptionOtherThanLuksIsRefused) {
  for (const uint32_t method : {1U, 3U}) {
    EXPECT_THAT(ImageBytes().put(kEncryptionAt, method).refusal(),
                AllOf(StartsWith("EOPNOTSUPP: crypt_method is " + std::to_string(method)),
                      HasSubstr("encrypted")));
  }
}

TEST(Qcow2Header, TheLuksHeaderHasAPlace) {
  const auto image = [](const std::string& place) {
    return ImageBytes().put(kEncryptionAt, 2U).extend(kEncryption, place);
  };
  EXPECT_THAT(ImageBytes().put(kEncryptionAt, 2U).refusal(), HasSubstr("is not there"));
  EXPECT_THAT(ImageBytes().extend(kEncryption, luks_place(0x40000, 0x10000)).refusal(),
              HasSubstr("crypt_method is 0"));
  EXPECT_THAT(image(luks_place(0x40000, 0)).refusal(), HasSubstr("has no bytes"));
  EXPECT_THAT(image("short").refusal(), HasSubstr("has 5 bytes, and must have 16"));
  EXPECT_THAT(image(luks_place(0x40200, 0x10000)).refusal(), HasSubstr("is not aligned"));
  EXPECT_THAT(image(luks_place(0, 0x10000)).refusal(), HasSubstr("cluster of the header"));
  EXPECT_THAT(image(luks_place(uint64_t{1} << 60, 512)).refusal(), HasSubstr("beyond the end"));
  EXPECT_THAT(image(luks_place(0x10000, UINT64_MAX)).refusal(), HasSubstr("beyond the end"));
}

TEST(Qcow2Header, CompressionTypeAgreesWithItsFeature) {
  const auto image = [](uint64_t features, uint32_t header_bytes, unsigned type) {
    return ImageBytes()
        .put(kIncompatibleAt, features)
        .put(kHeaderBytesAt, header_bytes)
        .put(kCompressionAt, static_cast<uint8_t>(type));
  };
  EXPECT_EQ(header_of(image(0, 112, 0)).compression, Compression::zlib);
  EXPECT_EQ(header_of(image(kCompressionType, 112, 1)).compression, Compression::zstd);
  EXPECT_THAT(image(0, 112, 1).refusal(),
              HasSubstr("compression_type is 1, and bit 3 of incompatible_features"));
  EXPECT_THAT(image(kCompressionType, 112, 0).refusal(), HasSubstr("compression_type is 0"));
  EXPECT_THAT(image(kCompressionType, 112, 2).refusal(),
              StartsWith("EOPNOTSUPP: compression_type is 2, and must be 0 (zlib) or 1 (zstd)"));
  // The byte belongs to the extensions if the header ends before it.
  EXPECT_THAT(image(kCompressionType, 104, 1).refusal(), HasSubstr("compression_type is 0"));
  EXPECT_EQ(header_of(ImageBytes().extend(0x12345678U, "")).compression, Compression::zlib);
}

TEST(Qcow2Header, ExtendedL2NeedsClustersOf16K) {
  EXPECT_EQ(ImageBytes(3, 13).put(kIncompatibleAt, kExtendedL2).refusal(),
            "EINVAL: cluster_bits is 13, and must be at least 14 with extended L2 entries");
  ImageBytes image(3, 14);
  image.put(kIncompatibleAt, kExtendedL2).put(kSizeAt, uint64_t{16} << 20);
  EXPECT_EQ(header_of(image).unit_bytes(), 512U);
  EXPECT_THAT(image.put(kSizeAt, (uint64_t{16} << 20) + 1).refusal(), HasSubstr("L1 table"));
}

TEST(Qcow2Header, RefcountOrder) {
  EXPECT_EQ(ImageBytes().put(kRefcountOrderAt, 7U).refusal(),
            "EINVAL: refcount_order is 7, and may be at most 6");
  EXPECT_THAT(ImageBytes().put(kRefcountOrderAt, UINT32_MAX).refusal(), HasSubstr("at most 6"));
  for (uint32_t order = 0; order <= 6; ++order) {
    EXPECT_EQ(header_of(ImageBytes().put(kRefcountOrderAt, order)).refcount_order, order);
  }
}

TEST(Qcow2Header, SizeIsRoundedDownToSectors) {
  EXPECT_EQ(header_of(ImageBytes().put(kSizeAt, uint64_t{1000})).size_bytes, 512U);
  EXPECT_EQ(header_of(ImageBytes().put(kSizeAt, uint64_t{511})).size_bytes, 0U);
}

// T4.18, T4.19: the L1 table is as large as the disk needs, and as the file and the limits allow.
TEST(Qcow2Header, SizeOfTheL1Table) {
  const uint64_t span = kCluster * (kCluster / 8);
  EXPECT_EQ(ImageBytes().put(kSizeAt, span + 1).refusal(),
            "EINVAL: size is 536870913, for which an L1 table has 2 entries or more, and l1_size "
            "is 1");
  EXPECT_THAT(ImageBytes().put(kSizeAt, UINT64_MAX).refusal(), HasSubstr("l1_size is 1"));
  EXPECT_EQ(ImageBytes().put(kL1EntriesAt, (4U << 20) + 1).refusal(),
            "EINVAL: l1_size is 4194305, and may be at most 4194304");
  EXPECT_THAT(ImageBytes().put(kL1EntriesAt, UINT32_MAX).refusal(), HasSubstr("l1_size"));
  EXPECT_THAT(ImageBytes().put(kL1EntriesAt, 4U << 20).refusal(),
              HasSubstr("the L1 table at 196608, 33554432 bytes, reaches beyond the end of the "
                        "file at 262144"));
  ImageBytes largest;
  largest.put(kL1EntriesAt, 4U << 20).put(kSizeAt, span << 22);
  EXPECT_EQ(header_of(largest.file_bytes(3 * kCluster + (32 << 20))).size_bytes, span << 22);
  // A disk without clusters needs no table.
  ImageBytes empty;
  empty.put(kL1EntriesAt, 0U).put(kL1OffsetAt, uint64_t{0}).put(kSizeAt, uint64_t{0});
  EXPECT_EQ(header_of(empty.file_bytes(2 * kCluster)).l1_entries, 0U);
}

// T4.17, T4.19
TEST(Qcow2Header, PlaceOfTheL1Table) {
  const auto at = [](uint64_t offset) { return ImageBytes().put(kL1OffsetAt, offset).refusal(); };
  EXPECT_EQ(at(3 * kCluster + 512),
            "EINVAL: the L1 table at 197120, 8 bytes, is not aligned to a cluster of 65536");
  EXPECT_EQ(at(0),
            "EINVAL: the L1 table at 0, 8 bytes, lies in the cluster of the header, which ends at "
            "65536");
  EXPECT_EQ(at(kCluster),
            "EINVAL: the L1 table at 65536, 8 bytes, overlaps the refcount table at 65536, 65536 "
            "bytes");
  EXPECT_THAT(at(4 * kCluster), HasSubstr("beyond the end of the file at 262144"));
  EXPECT_THAT(at(UINT64_MAX << 16), HasSubstr("beyond the end of the file"));
  // It may end where the file ends.
  EXPECT_THAT(ImageBytes().file_bytes(3 * kCluster + 8).refusal(), IsEmpty());
  EXPECT_THAT(ImageBytes().file_bytes(3 * kCluster + 7).refusal(), HasSubstr("beyond the end"));
}

// T4.17, T4.19
TEST(Qcow2Header, RefcountTable) {
  const auto clusters = [](uint32_t count) {
    return ImageBytes().put(kRefcountClustersAt, count).file_bytes(1 << 30);
  };
  EXPECT_EQ(clusters(0).refusal(),
            "EINVAL: refcount_table_clusters is 0, and must be 1 to 128: at most 8388608 bytes");
  EXPECT_THAT(clusters(129).refusal(), HasSubstr("refcount_table_clusters is 129"));
  EXPECT_THAT(clusters(UINT32_MAX).refusal(), HasSubstr("1 to 128"));
  EXPECT_THAT(clusters(3).refusal(), HasSubstr("overlaps the refcount table at 65536, 196608"));
  EXPECT_THAT(clusters(128).put(kL1OffsetAt, 129 * kCluster).refusal(), IsEmpty());
  const auto at = [](uint64_t offset) {
    return ImageBytes().put(kRefcountTableAt, offset).refusal();
  };
  EXPECT_THAT(at(kCluster + 8), HasSubstr("the refcount table at 65544, 65536 bytes, is not"));
  EXPECT_THAT(at(0), HasSubstr("the refcount table at 0, 65536 bytes, lies in the cluster of"));
  EXPECT_THAT(at(4 * kCluster), HasSubstr("the refcount table at 262144"));
  EXPECT_THAT(at(UINT64_MAX << 16), HasSubstr("beyond the end of the file"));
}

// T4.19, T4.24
TEST(Qcow2Header, PlaceOfTheSnapshotTable) {
  const auto table = [](uint32_t count, uint64_t offset) {
    return ImageBytes()
        .put(kSnapshotsAt, count)
        .put(kSnapshotsOffsetAt, offset)
        .file_bytes(4 * kCluster + 40)
        .refusal();
  };
  EXPECT_THAT(table(1, 4 * kCluster), IsEmpty());
  EXPECT_THAT(table(2, 4 * kCluster), HasSubstr("the snapshot table at 262144, 80 bytes, reaches"));
  EXPECT_EQ(table(65537, 4 * kCluster), "EINVAL: nb_snapshots is 65537, and may be at most 65536");
  EXPECT_THAT(table(131072, 4 * kCluster), HasSubstr("nb_snapshots is 131072"));
  EXPECT_THAT(table(1, 0), HasSubstr("lies in the cluster of the header"));
  EXPECT_THAT(table(1, 3 * kCluster), HasSubstr("overlaps the L1 table"));
  EXPECT_THAT(table(0, 8), HasSubstr("not aligned"));
}

// T4.22
TEST(Qcow2Header, BackingNameLiesInTheFirstCluster) {
  const auto at = [](uint64_t offset, uint32_t bytes) {
    return ImageBytes().put(kBackingOffsetAt, offset).put(kBackingBytesAt, bytes);
  };
  EXPECT_EQ(header_of(at(512, 4).put(512, "base")).backing_name, "base");
  EXPECT_EQ(header_of(at(104, 4).put(104, "base")).backing_name, "base");
  EXPECT_EQ(header_of(at(kCluster - 4, 4).put(kCluster - 4, "base")).backing_name, "base");
  EXPECT_EQ(header_of(at(kCluster, 0)).backing_name, "");
  EXPECT_EQ(header_of(at(0, UINT32_MAX)).backing_name, "");
  EXPECT_EQ(at(kCluster + 1, 0).refusal(),
            "EINVAL: backing_file_offset is 65537, and must be between the end of the header, "
            "104, and that of the first cluster, 65536");
  EXPECT_THAT(at(3 * kCluster, 4).refusal(), HasSubstr("backing_file_offset is 196608"));
  EXPECT_THAT(at(UINT64_MAX, 4).refusal(), HasSubstr("backing_file_offset"));
  EXPECT_THAT(at(96, 4).refusal(), HasSubstr("backing_file_offset is 96"));
  EXPECT_THAT(at(kCluster - 4, 5).refusal(),
              HasSubstr("backing_file_size is 5, and may be at most 4"));
  const std::string longest(1023, 'x');
  EXPECT_EQ(header_of(at(512, 1023).put(512, longest)).backing_name, longest);
  EXPECT_THAT(at(512, 1024).refusal(), HasSubstr("1024, and may be at most 1023"));
  EXPECT_THAT(at(512, UINT32_MAX).refusal(), HasSubstr("may be at most 1023"));
  EXPECT_EQ(at(512, 4).put(512, "ba\0e"sv).refusal(),
            "EINVAL: the backing file name 'ba\\x00e' has a NUL byte, and may not have one");
}

}  // namespace
}  // namespace sluice::qcow2::test
