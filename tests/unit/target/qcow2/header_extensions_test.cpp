// The extensions of the header, and the names of features.
#include "target/qcow2/header_extensions.hpp"

#include <gmock/gmock.h>

#include <string>

#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {
namespace {

using namespace std::string_view_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr uint32_t kUnknown = 0x12345678;

std::string bitmaps_data(uint64_t count, uint64_t bytes, uint64_t offset, uint64_t reserved = 0) {
  return big_endian_text(count, 4) + big_endian_text(reserved, 4) + big_endian_text(bytes, 8) +
         big_endian_text(offset, 8);
}

ImageBytes with_bitmaps(const std::string& data) {
  ImageBytes image;
  image.put(kAutoclearAt, kBitmapsValid).extend(kBitmaps, data).file_bytes(8 * kCluster);
  return image;
}

std::string feature(char type, char bit, std::string name) {
  name.resize(46);
  return std::string{type, bit} + name;
}

TEST(Qcow2Extensions, UnknownFeaturesAreNamed) {
  ImageBytes image;
  image.put(kIncompatibleAt, uint64_t{1} << 5 | uint64_t{1} << 63 | kDirty);
  EXPECT_EQ(image.refusal(),
            "EOPNOTSUPP: the image has features that this program does not have: bit 5, bit 63");
  image.extend(kFeatureNames, feature(1, 5, "compatible") + feature(0, 5, "time\ntravel") +
                                  feature(0, 63, std::string(46, 'x')) + "rest");
  EXPECT_THAT(image.refusal(), AllOf(HasSubstr("'time\\x0atravel', 'xxx"), HasSubstr("xx'"),
                                     Not(HasSubstr("compatible"))));
  EXPECT_THAT(ImageBytes().put(kIncompatibleAt, UINT64_MAX).refusal(),
              HasSubstr("bit 5, bit 6, bit 7 and 56 more"));
  EXPECT_THAT(ImageBytes().put(80, UINT64_MAX).refusal(), IsEmpty());
  EXPECT_THAT(ImageBytes().put(kAutoclearAt, UINT64_MAX & ~kBitmapsValid).refusal(), IsEmpty());
}

TEST(Qcow2Extensions, AreRead) {
  const Header header = header_of(ImageBytes()
                                      .extend(kUnknown, "abc")
                                      .extend(kBackingFormat, "qcow2")
                                      .extend(kUnknown, "")
                                      .extend(kDataFile, "data.raw")
                                      .extend(0, "")
                                      .extend(kBackingFormat, "never read"));
  EXPECT_EQ(header.backing_format, "qcow2");
  EXPECT_EQ(header.data_file_name, "data.raw");
  EXPECT_EQ(header_of(ImageBytes(2).extend(kBackingFormat, "raw")).backing_format, "raw");
  EXPECT_THAT(ImageBytes().extend(kBackingFormat, "sixteen letters!").refusal(),
              HasSubstr("the backing file format has 16 bytes, and may have at most 15"));
  EXPECT_THAT(ImageBytes().extend(kDataFile, "a\0"sv).refusal(), HasSubstr("NUL"));
  EXPECT_THAT(ImageBytes().extend(kDataFile, "a").extend(kDataFile, "b").refusal(),
              HasSubstr("0x44415441 is there twice"));
}

TEST(Qcow2Extensions, EndWithTheirArea) {
  ImageBytes image(3, 9);
  image.put(104, kUnknown).put(108, 400U);
  EXPECT_THAT(image.refusal(), IsEmpty());
  EXPECT_EQ(image.put(108, 401U).refusal(),
            "EINVAL: the header extension 0x12345678 at 104 has 401 bytes of data, and must end "
            "at 512");
  EXPECT_THAT(image.put(108, UINT32_MAX).refusal(), HasSubstr("4294967295 bytes of data"));
  // They end where the backing file name begins.
  image.put(108, 8U).put(kBackingBytesAt, 1U);
  EXPECT_THAT(image.put(kBackingOffsetAt, uint64_t{120}).put(120, "b").refusal(), IsEmpty());
  EXPECT_THAT(image.put(kBackingOffsetAt, uint64_t{119}).put(119, "b").refusal(),
              HasSubstr("must end at 119"));
  EXPECT_THAT(image.put(kBackingOffsetAt, uint64_t{123}).put(123, "b").refusal(),
              HasSubstr("the header extension at 120 has 3 bytes, and must have 8"));
}

TEST(Qcow2Extensions, BitmapsExtension) {
  const uint64_t place = 5 * kCluster;
  const Header header = header_of(with_bitmaps(bitmaps_data(2, 64, place)));
  ASSERT_TRUE(header.bitmaps.has_value());
  EXPECT_EQ(header.bitmaps->count, 2U);
  EXPECT_EQ(header.bitmaps->directory_bytes, 64U);
  EXPECT_EQ(header.bitmaps->directory_offset, place);
  const auto refusal = [](const std::string& data) { return with_bitmaps(data).refusal(); };
  EXPECT_EQ(refusal(bitmaps_data(1, 32, place) + "more"),
            "EINVAL: the bitmaps extension has 28 bytes, and must have 24");
  EXPECT_THAT(refusal(bitmaps_data(1, 32, place, 1)), HasSubstr("reserved"));
  EXPECT_THAT(refusal(bitmaps_data(0, 32, place)), HasSubstr("nb_bitmaps is 0"));
  EXPECT_THAT(refusal(bitmaps_data(65536, 32, place)), HasSubstr("must be 1 to 65535"));
  EXPECT_THAT(refusal(bitmaps_data(1, 0, place)), HasSubstr("bitmap_directory_size is 0"));
  EXPECT_THAT(refusal(bitmaps_data(1, (64 << 20) + 1, place)), HasSubstr("must be 1 to 67108864"));
  EXPECT_THAT(refusal(bitmaps_data(1, 32, place + 8)), HasSubstr("not aligned"));
  EXPECT_THAT(refusal(bitmaps_data(1, 32, 8 * kCluster)),
              HasSubstr("the bitmap directory at 524288, 32 bytes, reaches beyond the end"));
  EXPECT_THAT(refusal(bitmaps_data(1, 32, 0)), HasSubstr("cluster of the header"));
  EXPECT_THAT(refusal(bitmaps_data(1, 32, kCluster)), HasSubstr("overlaps the refcount table"));
}

// T4.25: what it says counts only if nobody has written to the image without knowing bitmaps.
TEST(Qcow2Extensions, StaleBitmapsExtensionIsIgnored) {
  ImageBytes image;
  image.extend(kBitmaps, bitmaps_data(0, 0, 7));
  EXPECT_FALSE(header_of(image).bitmaps.has_value());
  EXPECT_FALSE(header_of(ImageBytes().put(kAutoclearAt, kBitmapsValid)).bitmaps.has_value());
}

}  // namespace
}  // namespace sluice::qcow2::test
