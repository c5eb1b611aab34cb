// The command line of `sluice resize`. tests/interop/qcow2_resize.sh has what it does to images.
#include <filesystem>

#include "unit/cli/image_lines.hpp"

namespace sluice::cli::test {
namespace {

class ResizeLine : public ImageLines {};

TEST_F(ResizeLine, TheNewSizeIsPrinted) {
  const std::string disk = raw("disk");
  EXPECT_EQ(done({"resize", disk, "2M"}), "2097152\n");
  EXPECT_EQ(done({"resize", disk, "+1k"}), "2098176\n");
  EXPECT_EQ(done({"resize", disk, "2098176"}), "2098176\n") << "as it is";
  EXPECT_EQ(done({"resize", "-q", "-f", "raw", disk, "3M"}), "");
  EXPECT_EQ(done({"resize", "--shrink", "--", disk, "-1M"}), "2097152\n");
  EXPECT_EQ(std::filesystem::file_size(disk), 2U << 20);
  const std::string image_path = image("image");
  EXPECT_EQ(done({"resize", "--preallocation=metadata", image_path, "2M"}), "2097152\n");
  EXPECT_EQ(done({"resize", "-f", "qcow2", "--shrink", image_path, "1M"}), "1048576\n");
}

TEST_F(ResizeLine, NeedsAFileAndASize) {
  const std::string disk = raw("disk");
  refused({"resize"}, 2,
          "'sluice resize' needs a DEVICE: its number, name or path ('sluice list' shows them), or"
          " an image FILE");
  refused({"resize", "-q", disk}, 2, "'sluice resize' needs a FILE and its SIZE");
  refused({"resize", disk, "1M", "2M"}, 2, "unexpected argument '2M' (see 'sluice help resize')");
  refused(
      {"resize", disk, "much"}, 2,
      "'much' is not a size: write a number with an optional unit k, M, G, T or P, such as 64k or"
      " 1.5G");
  refused({"resize", disk, "+"}, 2,
          "'' is not a size: write a number with an optional unit k, M, G, T or P, such as 64k or"
          " 1.5G");
  refused({"resize", "-q", path("none"), "2M"}, 1,
          fmt::format("'{}' does not exist: check the path", path("none")));
}

TEST_F(ResizeLine, ValuesAreChecked) {
  const std::string disk = raw("disk");
  refused({"resize", "-f", "vmdk", disk, "2M"}, 2, "-f takes 'raw' or 'qcow2', found 'vmdk'");
  refused({"resize", "-f", "qcow2", disk, "2M"}, 1,
          fmt::format("'{}' is no qcow2 image, as -f says, but raw", disk));
  refused({"resize", "--preallocation=some", disk, "2M"}, 2,
          "--preallocation takes off, metadata, falloc or full, found 'some'");
  refused({"resize", "--preallocation=metadata", disk, "2M"}, 1,
          fmt::format("'{}': a raw file has no metadata: --preallocation takes off, falloc or full",
                      disk));
  refused({"resize", "--preallocation=full", "--shrink", disk, "512k"}, 1,
          "--preallocation is only for images that grow");
  EXPECT_EQ(std::filesystem::file_size(disk), 1U << 20);
}

TEST_F(ResizeLine, SizesAreChecked) {
  const std::string disk = raw("disk");
  refused({"resize", disk, "512k"}, 1,
          fmt::format("'{}' has 1048576 bytes, and what lies behind byte 524288 would be lost:"
                      " allow it with --shrink",
                      disk));
  refused({"resize", "--shrink", disk, "0"}, 1, "the new size must be more than zero");
  refused({"resize", "--shrink", "--", disk, "-2M"}, 1, "the new size must be more than zero");
  refused({"resize", disk, "+9223372036854775807"}, 1, "no image can exceed 8 EiB: ask for less");
  const std::string image_path = image("image");
  refused({"resize", image_path, "+1000"}, 1,
          fmt::format("'{}' cannot be resized: 1049576 is no multiple of 512: give 1049088 or"
                      " 1049600",
                      image_path));
  EXPECT_EQ(std::filesystem::file_size(disk), 1U << 20);
}

TEST_F(ResizeLine, OptionsForFilesAreNotForDevices) {
  for (const auto& [word, option] : {std::pair{"--shrink", "--shrink"},
                                     {"--preallocation=off", "--preallocation"},
                                     {"-fraw", "-f"},
                                     {"-q", "-q"}}) {
    refused({"resize", "-n", "0", word, "2M"}, 2,
            fmt::format("{} is for image files, not for devices", option));
  }
}

}  // namespace
}  // namespace sluice::cli::test
