// The command line of `sluice amend`. tests/interop/qcow2_amend.sh has what it does to images.
#include "unit/cli/image_lines.hpp"

namespace sluice::cli::test {
namespace {

class AmendLine : public ImageLines {
 protected:
  std::string facts() const { return done({"info", "--json", path_}); }

  const std::string path_ = image("image");
};

TEST_F(AmendLine, OptionsAreNamesAndValues) {
  EXPECT_EQ(done({"amend", "-o", "compat=0.10", path_}), "");
  EXPECT_NE(facts().find(R"("compat": "0.10")"), std::string::npos) << facts();
  EXPECT_EQ(done({"amend", "-o", "compat=1.1,lazy_refcounts=on", "-o", "size=2M", path_}), "");
  EXPECT_NE(facts().find(R"("lazy-refcounts": true)"), std::string::npos) << facts();
  EXPECT_NE(facts().find(R"("virtual-size": 2097152)"), std::string::npos) << facts();
  EXPECT_EQ(done({"amend", "-o", "refcount_bits=8", path_}), "");
  EXPECT_NE(facts().find(R"("refcount-bits": 8)"), std::string::npos) << facts();
}

TEST_F(AmendLine, NeedsAFileAndAChange) {
  refused({"amend", "-o", "compat=1.1"}, 2, "'sluice amend' needs a FILE");
  refused({"amend", "-o", "compat=1.1", ""}, 2, "'sluice amend' needs a FILE");
  refused({"amend", path_}, 2, "nothing to change: give -o NAME=VALUE");
  refused({"amend", "-o", "compat=1.1", path_, "more"}, 2,
          "unexpected argument 'more' (see 'sluice help amend')");
  refused({"amend", "-o", "compat=1.1", path("none")}, 1,
          fmt::format("'{}' does not exist: check the path", path("none")));
}

TEST_F(AmendLine, NamesAreKnown) {
  for (const char* const fixed :
       {"cluster_size", "extended_l2", "compression_type", "preallocation"}) {
    refused(
        {"amend", "-o", fmt::format("{}=1", fixed), path_}, 2,
        fmt::format("{} of an image never changes: make a new image with sluice convert", fixed));
  }
  refused({"amend", "-o", "compact=1.1", path_}, 2,
          "unknown option 'compact' of -o: did you mean 'compat'?");
  refused({"amend", "-o", "speed=high", path_}, 2,
          "unknown option 'speed' of -o: there are compat, refcount_bits, lazy_refcounts,"
          " data_file, data_file_raw, backing_file, backing_fmt, size");
  refused({"amend", "-o", "lazy_refcounts=on,", path_}, 2,
          "unknown option '' of -o: there are compat, refcount_bits, lazy_refcounts, data_file,"
          " data_file_raw, backing_file, backing_fmt, size");
}

TEST_F(AmendLine, ValuesAreChecked) {
  const auto wrong = [&](const std::string& option, const std::string& sentence) {
    refused({"amend", "-o", option, path_}, 2, sentence);
  };
  wrong("compat=2", "compat takes 0.10 or 1.1, found '2'");
  wrong("compat", "compat takes 0.10 or 1.1, found nothing");
  wrong("refcount_bits=3", "refcount_bits takes a power of two from 1 to 64, found '3'");
  wrong("refcount_bits=128", "refcount_bits takes a power of two from 1 to 64, found '128'");
  wrong("lazy_refcounts=yes", "lazy_refcounts takes on or off, found 'yes'");
  wrong("data_file=", "data_file takes the name of a file, found ''");
  wrong("data_file_raw=1", "data_file_raw takes on or off, found '1'");
  wrong("backing_fmt=vmdk", "backing_fmt takes raw or qcow2, found 'vmdk'");
  wrong("size=0", "size takes bytes, or a number with a unit such as 10G, found '0'");
  wrong("size=+1G", "size takes bytes, or a number with a unit such as 10G, found '+1G'");
}

TEST_F(AmendLine, SizesAreThoseOfTheImageOrLarger) {
  refused(
      {"amend", "-o", "size=512k", path_}, 1,
      fmt::format("'{}' has 1048576 bytes: only sluice resize --shrink makes it smaller", path_));
  refused({"amend", "-o", "size=1048577", path_}, 1,
          "size 1048577 is no multiple of 512: give 1048576 or 1049088");
}

TEST_F(AmendLine, OnlyQcow2ImagesHaveOptions) {
  const std::string disk = raw("disk");
  refused({"amend", "-o", "compat=1.1", disk}, 1,
          fmt::format("'{}' is a raw image: only qcow2 images have options to amend", disk));
}

}  // namespace
}  // namespace sluice::cli::test
