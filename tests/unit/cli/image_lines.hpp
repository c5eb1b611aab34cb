// ImageLines: command lines that work on image files, in a folder of the test's own.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/work_folder.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {

class ImageLines : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  // Makes an image with a disk of 1 MiB; its path.
  std::string image(const std::string& name, const Words& options = {"-f", "qcow2"}) const {
    Words words = {"create", "--size", "1M"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back(path(name));
    done(words);
    return words.back();
  }
  std::string raw(const std::string& name) const { return image(name, {"-f", "raw"}); }

  // What the command prints; it succeeds without a word on the error output.
  static std::string done(const Words& words) {
    const Ended ended = run_words(words);
    EXPECT_EQ(ended.code, 0) << testing::PrintToString(words);
    EXPECT_EQ(ended.error, "") << testing::PrintToString(words);
    return ended.out;
  }

  // Refused with this sentence only.
  static void refused(const Words& words, int code, const std::string& sentence) {
    const Ended ended = run_words(words);
    EXPECT_EQ(ended.code, code) << testing::PrintToString(words);
    EXPECT_EQ(ended.out, "") << testing::PrintToString(words);
    EXPECT_EQ(ended.error, "sluice: " + sentence + "\n") << testing::PrintToString(words);
  }

 private:
  const sluice::test::WorkFolder folder_;
};

}  // namespace sluice::cli::test
