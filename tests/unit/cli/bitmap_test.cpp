// The command line of `sluice bitmap`. tests/interop/qcow2_bitmap.sh has what it does to images.
#include <gmock/gmock.h>

#include "unit/cli/image_lines.hpp"

namespace sluice::cli::test {
namespace {

using testing::HasSubstr;

class BitmapLine : public ImageLines {
 protected:
  std::string facts() const { return done({"info", "--json", path_}); }

  const std::string path_ = image("image");
};

TEST_F(BitmapLine, ActionsAreCarriedOutInTheirOrder) {
  EXPECT_EQ(done({"bitmap", "--add", "-g", "64k", path_, "one"}), "");
  EXPECT_THAT(facts(), HasSubstr(R"("granularity": 65536)"));
  EXPECT_EQ(
      done({"bitmap", "--add", "--disable", "--granularity=32k", "-f", "qcow2", path_, "two"}), "");
  EXPECT_EQ(done({"bitmap", "--merge", "one", "--clear", "--enable", path_, "two"}), "");
  const std::string other = image("other");
  EXPECT_EQ(done({"bitmap", "--add", other, "three"}), "");
  EXPECT_EQ(done({"bitmap", "--merge", "three", "-b", other, "-F", "qcow2", path_, "one"}), "");
  EXPECT_EQ(done({"bitmap", "--clear", "--remove", path_, "one"}), "");
  EXPECT_EQ(facts().find(R"("name": "one")"), std::string::npos) << facts();
  EXPECT_THAT(facts(), HasSubstr(R"("name": "two")"));
}

// As qemu-img does, with exit status 1 for all of it.
TEST_F(BitmapLine, WrongLinesAreRefused) {
  refused({"bitmap"}, 1, "'sluice bitmap' needs a FILE and a BITMAP");
  refused({"bitmap", "--add", path_}, 1, "'sluice bitmap' needs a FILE and a BITMAP");
  refused({"bitmap", "--add", path_, "one", "two"}, 1,
          "unexpected argument 'two' (see 'sluice help bitmap')");
  refused({"bitmap", path_, "one"}, 1,
          "nothing to do: give --add, --remove, --clear, --enable, --disable or --merge");
  refused({"bitmap", "--clear", "-g", "64k", path_, "one"}, 1, "-g needs --add");
  refused({"bitmap", "--clear", "-b", path_, path_, "one"}, 1, "-b needs --merge");
  refused({"bitmap", "--merge", "two", "-F", "qcow2", path_, "one"}, 1, "-F needs -b");
  refused({"bitmap", "--add", "-f", "raw", path_, "one"}, 1,
          "an image of format 'raw' has no bitmaps: only qcow2 has");
  refused({"bitmap", "--merge", "two", "-b", path_, "-F", "raw", path_, "one"}, 1,
          "an image of format 'raw' has no bitmaps: only qcow2 has");
  refused({"bitmap", "--add", "-g", "lots", path_, "one"}, 1,
          "-g: 'lots' is not a size: write a number with an optional unit k, M, G, T or P, such as"
          " 64k or 1.5G");
  refused({"bitmap", "--merge"}, 1, "option --merge needs its SOURCE");
}

TEST_F(BitmapLine, WhatCannotBeDoneIsRefused) {
  EXPECT_EQ(done({"bitmap", "--add", path_, "one"}), "");
  refused({"bitmap", "--add", path_, "one"}, 1,
          fmt::format("'{}': the image has a bitmap 'one' already", path_));
  refused({"bitmap", "--remove", path_, "two"}, 1,
          fmt::format("'{}': the image has no bitmap 'two'", path_));
  refused({"bitmap", "--add", "-g", "3000", path_, "two"}, 1,
          fmt::format("'{}': the granularity is 3000: give a power of two from 512 to 2147483648"
                      " bytes",
                      path_));
  refused({"bitmap", "--add", path("none"), "one"}, 1,
          fmt::format("'{0}' does not exist: create it with truncate -s SIZE {0}", path("none")));
}

}  // namespace
}  // namespace sluice::cli::test
