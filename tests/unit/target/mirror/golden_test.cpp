// Golden images: what version 1 has on a disk, byte for byte. They never change (T6.20).
//
// Each is a file of lines "OFFSET: BYTES" in hexadecimal; all bytes that no line has are zero.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

#include "target/mirror/leg_record.hpp"
#include "target/mirror/write_intent_format.hpp"
#include "unit/target/mirror/records.hpp"

namespace sluice::mirror::test {
namespace {

std::vector<std::byte> golden(const std::string& name, size_t bytes) {
  const char* const source = std::getenv("SLUICE_SOURCE_DIR");
  std::ifstream file(std::string(source == nullptr ? "." : source) +
                     "/tests/unit/target/mirror/golden/" + name);
  EXPECT_TRUE(file) << name;
  std::vector<std::byte> image(bytes);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    size_t place = 0;
    words >> std::hex >> place;
    words.ignore(1, ':');
    for (unsigned byte = 0; words >> byte; ++place) image.at(place) = static_cast<std::byte>(byte);
  }
  return image;
}

TEST(MirrorGolden, TheSuperblockOfVersion1) {
  const std::vector<std::byte> image = golden("superblock_v1.txt", kSuperblockBytes);
  const SuperblockFormat format = superblock_format(Placement::start, 64 * kMiB);
  const SuperblockCopy copy = read_superblock_copy(format, image);
  ASSERT_EQ(copy.state, SuperblockCopy::State::valid);
  EXPECT_EQ(copy.version, 1);
  EXPECT_EQ(copy.generation, 5);
  const Result<LegRecord> record = parse(copy.payload, 64 * kMiB);
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(*record, whole_record());

  std::vector<std::byte> written(kSuperblockBytes);
  make_superblock_copy(format, 1, 5, encoded(whole_record()), written);
  EXPECT_EQ(written, image);
}

TEST(MirrorGolden, ABlockOfTheBitmapOfVersion1) {
  const std::vector<std::byte> image = golden("intent_block_v1.txt", kIntentBlockBytes);
  std::vector<uint64_t> expected(kIntentWords);
  expected.front() = 0x8000000000000001;
  expected.back() = 0x0123456789abcdef;
  std::vector<uint64_t> words(kIntentWords);
  ASSERT_TRUE(decode_intent_block(uuid_of(1), 7, image, words));
  EXPECT_EQ(words, expected);

  std::vector<std::byte> written(kIntentBlockBytes);
  encode_intent_block(uuid_of(1), 7, expected, written);
  EXPECT_EQ(written, image);
}

}  // namespace
}  // namespace sluice::mirror::test
