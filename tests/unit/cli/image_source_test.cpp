// Which disk the arguments of the image tools mean, and what the tools print.
#include "cli/image/image_source.hpp"

#include <gmock/gmock.h>

#include "support/work_folder.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class ImageSource : public testing::Test {
 protected:
  ImageSource() {
    std::vector<std::byte> head(65536);
    head[0] = std::byte{'Q'};
    head[1] = std::byte{'F'};
    head[2] = std::byte{'I'};
    head[3] = std::byte{0xfb};
    head[7] = std::byte{3};
    folder_.write("image", head);
    folder_.write("odd(name", head);
    folder_.write("disk", std::vector<std::byte>(65536, std::byte{1}));
  }
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  const sluice::test::WorkFolder folder_;
};

TEST_F(ImageSource, APathIsRecognisedForReadingOnly) {
  const auto image = source_spec(path("image"), "", false);
  ASSERT_TRUE(image);
  EXPECT_EQ(image->target, "qcow2");
  EXPECT_EQ(image->text("file"), path("image"));
  EXPECT_EQ(source_spec(path("disk"), "", false)->target, "loop");
  EXPECT_EQ(destination_spec(path("image"), "")->target, "loop");
  EXPECT_THAT(source_spec(path("nowhere"), "", false).error().text, HasSubstr("does not exist"));
}

TEST_F(ImageSource, AFormatIsNotFoundOut) {
  EXPECT_EQ(source_spec(path("image"), "raw", false)->target, "loop");
  EXPECT_EQ(source_spec(path("disk"), "qcow2", false)->target, "qcow2");
  EXPECT_EQ(destination_spec(path("new"), "qcow2")->target, "qcow2");
  // A path with any characters.
  EXPECT_FALSE(source_spec(path("odd(name"), "", false));
  EXPECT_EQ(source_spec(path("odd(name"), "qcow2", false)->text("file"), path("odd(name"));
  EXPECT_EQ(destination_spec(path("new(name"), "raw")->text("file"), path("new(name"));
}

TEST_F(ImageSource, OtherSpecsHoldTheFormat) {
  EXPECT_EQ(source_spec("null:1M", "", false)->target, "null");
  EXPECT_EQ(source_spec("null:1M", "raw", false)->target, "null");
  const auto image = source_spec("linear(mem:1M, mem:1M)", "qcow2", false);
  ASSERT_TRUE(image);
  EXPECT_EQ(image->target, "qcow2");
  ASSERT_EQ(image->children.size(), 1U);
  EXPECT_EQ(image->children.front().target, "linear");
}

TEST_F(ImageSource, TheMapIsTextOrJson) {
  const Ended text = run_words({"map", path("disk")});
  EXPECT_EQ(text.code, 0) << text.error;
  EXPECT_EQ(text.out,
            "Offset          Length          Mapped to       File\n"
            "0               0x10000         0               " +
                path("disk") + "\n");
  const std::string json =
      R"([{ "start": 512, "length": 1024, "depth": 0, "present": true, "zero": false, )"
      R"("data": true, "compressed": false, "offset": 512}])"
      "\n";
  EXPECT_EQ(run_words({"map", "--json", "-s", "512", "-l", "1k", path("disk")}).out, json);
  EXPECT_EQ(run_words({"map", "--output=json", "-s", "512", "-l", "1k", path("disk")}).out, json);
  EXPECT_EQ(run_words({"map", "--json", "-s", "1M", path("disk")}).out, "[]\n");
}

TEST_F(ImageSource, TheResultOfACompareIsItsExitCode) {
  const Ended same = run_words({"compare", path("disk"), path("disk")});
  EXPECT_EQ(same.code, 0) << same.error;
  EXPECT_EQ(same.out, "Images are identical.\n");
  const Ended differs = run_words({"compare", "-f", "raw", path("image"), path("disk")});
  EXPECT_EQ(differs.code, 1);
  EXPECT_EQ(differs.out, "Content mismatch at offset 0!\n");
  EXPECT_EQ(differs.error, "");
  EXPECT_EQ(run_words({"compare", "-q", path("disk"), "null:64k"}).out, "");
  const Ended missing = run_words({"compare", path("disk"), path("nowhere")});
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.error, HasSubstr("does not exist"));
  EXPECT_EQ(run_words({"compare", path("disk"), "fault(mem:64k, errors=1)"}).code, 4);
  EXPECT_THAT(run_words({"compare", "-p", path("disk"), path("disk")}).error,
              StartsWith("    (0.00/100%)\r"));
}

TEST_F(ImageSource, AMeasureIsOfADiskOrOfASize) {
  EXPECT_EQ(run_words({"measure", path("disk")}).out,
            "required size: 65536\nfully allocated size: 65536\n");
  EXPECT_EQ(run_words({"measure", "-O", "qcow2", "-o", "cluster_size=4k", "--size", "1000"}).out,
            "required size: 20480\nfully allocated size: 24576\n");
  EXPECT_THAT(run_words({"measure", "--json", "--size", "1M"}).out,
              HasSubstr(R"("fully-allocated": 1048576)"));
  EXPECT_EQ(run_words({"measure"}).code, 2);
}

}  // namespace
}  // namespace sluice::cli::test
