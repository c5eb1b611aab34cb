// The command line of `sluice create`.
#include "cli/image/create_options.hpp"

#include <gmock/gmock.h>

#include "cli/image/image_facts.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::HasSubstr;

Outcome<CreateRequest> create_request(const Words& words) {
  CommandLine line("create");
  declare_create(line, words);
  if (auto parsed = line.parse(words); !parsed) return std::unexpected(parsed.error());
  return read_create_request(line);
}

TEST(CreateOptions, ValuesAreRead) {
  const auto request = create_request({"-f", "qcow2", "--size", "3G", "-o",
                                       "cluster_size=16k,refcount_bits=8,extended_l2=on", "-o",
                                       "lazy_refcounts=on,compression_type=zstd", "new"});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_EQ(request->path, "new");
  EXPECT_TRUE(request->is_qcow2);
  EXPECT_FALSE(request->force);
  EXPECT_EQ(request->options.size_bytes, uint64_t{3} << 30);
  EXPECT_EQ(request->options.cluster_bits, 14U);
  EXPECT_EQ(request->options.refcount_order, 3U);
  EXPECT_TRUE(request->options.extended_l2);
  EXPECT_TRUE(request->options.lazy_refcounts);
  EXPECT_EQ(request->options.compression, qcow2::Compression::zstd);
}

TEST(CreateOptions, ACommaIsWrittenTwice) {
  const auto request = create_request(
      {"-f", "qcow2", "--size", "1M", "-o", "data_file=a,,b=c,data_file_raw=on", "new"});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_EQ(request->options.data_file_name, "a,b=c");
  EXPECT_TRUE(request->options.data_file_raw);
}

TEST(CreateOptions, TheSizeMayBeThatOfTheBackingFile) {
  const auto request = create_request({"-f", "qcow2", "-b", "below", "-F", "raw", "new"});
  ASSERT_TRUE(request) << request.error().text;
  EXPECT_FALSE(request->has_size);
  EXPECT_THAT(create_request({"-f", "qcow2", "new"}).error().text, HasSubstr("--size"));
}

TEST(CreateOptions, BackingFilesAreRelativeToTheImage) {
  EXPECT_EQ(backing_path("folder/top", "below"), "folder/below");
  EXPECT_EQ(backing_path("top", "below"), "below");
  EXPECT_EQ(backing_path("folder/top", "/below"), "/below");
  EXPECT_EQ(backing_path("folder/top", "file:below"), "folder/below");
  EXPECT_EQ(backing_path("top", "nbd://host/export"), "");
  EXPECT_EQ(backing_path("top", "json:{}"), "");
  EXPECT_EQ(backing_path("top", "./a:b"), "./a:b");
}

}  // namespace
}  // namespace sluice::cli::test
