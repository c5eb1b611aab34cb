// The image kinds detected from the beginning of a file, and the warnings about them.
#include "target/file/image_kind.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The beginning of a file: zeroes, except for the bytes that a test puts there.
class Head {
 public:
  Head& put(size_t offset, std::string_view bytes) {
    std::memcpy(bytes_.data() + offset, bytes.data(), bytes.size());
    return *this;
  }
  // An entry of an MBR.
  Head& partition(int index, uint8_t type, uint32_t first, uint32_t count) {
    put(510, "\x55\xAA");
    std::byte* const entry = bytes_.data() + 446 + 16 * index;
    entry[4] = std::byte{type};
    std::memcpy(entry + 8, &first, sizeof(first));
    std::memcpy(entry + 12, &count, sizeof(count));
    return *this;
  }
  Head& gpt(size_t block) {
    partition(0, 0xEE, 1, UINT32_MAX);
    return put(block, std::string_view("EFI PART\0\0\1\0\x5C\0\0\0", 16))
        .put(block + 24, std::string_view("\1\0\0\0\0\0\0\0", 8));
  }

  std::span<const std::byte> bytes() const { return bytes_; }
  operator std::span<const std::byte>() const { return bytes_; }  // NOLINT(google-explicit-*)

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kImageHeadBytes);
};

constexpr uint64_t kImageBytes = 64 << 20;

TEST(ImageKind, FormatsAreKnownByTheirMagic) {
  using namespace std::string_view_literals;
  EXPECT_EQ(image_format(Head().put(0, "QFI\xFB\0\0\0\3"sv)), "qcow2");
  EXPECT_EQ(image_format(Head().put(0, "QFI\xFB\0\0\0\2"sv)), "qcow2");
  EXPECT_EQ(image_format(Head().put(0, "QFI\xFB\0\0\0\1"sv)), "qcow");
  EXPECT_EQ(image_format(Head().put(0, "KDMV\1\0\0\0"sv)), "vmdk");
  EXPECT_EQ(image_format(Head().put(0, "# Disk DescriptorFile\nversion=1\n")), "vmdk");
  EXPECT_EQ(image_format(Head().put(64, "\x7F\x10\xDA\xBE"sv)), "vdi");
  EXPECT_EQ(image_format(Head().put(0, "vhdxfile")), "vhdx");
  EXPECT_EQ(image_format(Head().put(0, "conectix")), "vhd");
  EXPECT_EQ(image_format(Head().put(0, "QED\0"sv)), "qed");
}

TEST(ImageKind, NothingIsGuessed) {
  using namespace std::string_view_literals;
  EXPECT_EQ(image_format(Head()), "");
  EXPECT_EQ(image_format(Head().put(0, "QFI\xFB\0\0\0\x9"sv)), "") << "no such version";
  EXPECT_EQ(image_format(Head().put(0, "KDMV\x9\0\0\0"sv)), "");
  EXPECT_EQ(image_format(Head().put(0, "LUKS\xBA\xBE\0\2"sv)), "") << "made to be served raw";
  EXPECT_EQ(image_format(Head().put(512, "QFI\xFB\0\0\0\3"sv)), "") << "not at the beginning";
  EXPECT_EQ(image_format(Head().bytes().first(3)), "");
  EXPECT_EQ(image_format({}), "");
}

TEST(ImageKind, AGptIsWhereItsBlocksAre) {
  const auto small = made_for(Head().gpt(512), kImageBytes);
  ASSERT_TRUE(small);
  EXPECT_EQ(small->block_bytes, 512U);
  EXPECT_TRUE(small->exactly);
  const auto large = made_for(Head().gpt(4096), kImageBytes);
  ASSERT_TRUE(large);
  EXPECT_EQ(large->block_bytes, 4096U);
  EXPECT_FALSE(made_for(Head().gpt(512).gpt(4096), kImageBytes)) << "both: who knows";
  EXPECT_FALSE(made_for(Head().gpt(1024), kImageBytes));
}

TEST(ImageKind, AnMbrIsCertainOnlyWhereOneKindOfBlocksFits) {
  const uint32_t all = kImageBytes / 512;
  const auto full = made_for(Head().partition(0, 0x83, 2048, all - 2048), kImageBytes);
  ASSERT_TRUE(full);
  EXPECT_EQ(full->block_bytes, 512U);
  EXPECT_FALSE(made_for(Head().partition(0, 0x83, 64, 1024), kImageBytes)) << "fits in both";
  EXPECT_FALSE(made_for(Head().partition(0, 0x83, 2048, all), kImageBytes)) << "fits in neither";
  EXPECT_FALSE(made_for(Head().partition(0, 0xEE, 1, all - 1), kImageBytes)) << "protects a GPT";
  EXPECT_FALSE(made_for(Head().partition(0, 0x83, 0, all), kImageBytes))
      << "no partition begins there";
  EXPECT_FALSE(made_for(Head().put(510, "\x55\xAA"), kImageBytes)) << "no partitions";
  EXPECT_FALSE(made_for(Head().partition(0, 0x83, 2048, all - 2048).put(446, "\x12"), kImageBytes))
      << "code, not a table";
}

TEST(ImageKind, AFileSystemTakesItsBlocksOrSmallerOnes) {
  using namespace std::string_view_literals;
  const auto xfs = made_for(Head().put(0, "XFSB").put(102, "\2\0"sv), kImageBytes);
  ASSERT_TRUE(xfs);
  EXPECT_EQ(xfs->block_bytes, 512U);
  EXPECT_FALSE(xfs->exactly);
  const auto ext = made_for(Head().put(1024 + 56, "\x53\xEF"), kImageBytes);
  ASSERT_TRUE(ext);
  EXPECT_EQ(ext->block_bytes, 1024U);
  const auto fat =
      made_for(Head().put(510, "\x55\xAA").put(54, "FAT16   ").put(11, "\0\2"sv).put(446, "\x12"),
               kImageBytes);
  ASSERT_TRUE(fat);
  EXPECT_EQ(fat->block_bytes, 512U);
  EXPECT_FALSE(made_for(Head().put(0, "XFSB").put(102, "\0\0"sv), kImageBytes)) << "no size";
  EXPECT_FALSE(made_for({}, 0));
}

// --- The warnings.

class ImageKindNotes : public testing::Test {
 protected:
  std::string said_of(const std::string& command, const std::string& spec) {
    const CommandResult made = run_command("cd " + directory_.path() + " && " + command);
    EXPECT_EQ(made.code, 0) << made.output;
    const LogCapture log;
    EXPECT_THAT(open_error(spec), IsEmpty());
    return log.text();
  }

  const TempDir directory_;
  const std::string path_ = directory_.path("a.img");
};

TEST_F(ImageKindNotes, AnImageServedRawIsTold) {
  if (!has_command("qemu-img")) GTEST_SKIP() << "needs qemu-img (package qemu-utils)";
  for (const char* const format : {"qcow2", "vmdk", "vdi", "vhdx", "qed", "qcow"}) {
    const std::string said =
        said_of(std::string("rm -f a.img; qemu-img create -q -f ") + format + " a.img 8M", path_);
    EXPECT_THAT(said, AllOf(HasSubstr(std::string("is a ") + format + " image, but its raw bytes"),
                            HasSubstr(format == std::string("qcow2") ? "give qcow2:"
                                                                     : "qemu-img convert -O raw")));
  }
  EXPECT_THAT(said_of("rm -f a.img; qemu-img create -q -f vpc a.img 8M", path_),
              HasSubstr("is a vhd image"));
}

TEST_F(ImageKindNotes, NotIfOnlyAPartOfItIsServed) {
  if (!has_command("qemu-img")) GTEST_SKIP() << "needs qemu-img (package qemu-utils)";
  EXPECT_THAT(said_of("qemu-img create -q -f qcow2 -o preallocation=full a.img 8M",
                      "loop(" + path_ + ", offset=1M, size=1M)"),
              Not(HasSubstr("image")));
  EXPECT_THAT(said_of("rm a.img; truncate -s 8M a.img", path_), IsEmpty());
}

TEST_F(ImageKindNotes, ATableForOtherBlocksIsTold) {
  const std::string table =
      "rm -f a.img; truncate -s 64M a.img; printf 'label: gpt\\n2048,\\n' | sfdisk -q a.img";
  if (!has_command("sfdisk")) GTEST_SKIP() << "needs sfdisk (package fdisk)";
  const std::string spec = "loop(" + path_ + ", buffered_io";
  EXPECT_THAT(said_of(table, spec + ")"), IsEmpty());
  EXPECT_THAT(said_of(table, spec + ", block=4k)"),
              AllOf(HasSubstr("holds a partition table for blocks of 512 bytes, and is served in "
                              "blocks of 4096: its partitions would be at other offsets"),
                    HasSubstr("give the option block=512")));
}

}  // namespace
}  // namespace sluice::test
