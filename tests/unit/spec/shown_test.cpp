// Untrusted text in messages, and valid UTF-8.
#include "spec/shown.hpp"

#include <gtest/gtest.h>

namespace sluice::test {
namespace {

TEST(Shown, QuotesAndEscapes) {
  EXPECT_EQ(shown("a.img"), "'a.img'");
  EXPECT_EQ(shown(""), "''");
  EXPECT_EQ(shown("gr\xC3\xBC\xC3\x9F"), "'gr\xC3\xBC\xC3\x9F'");
  EXPECT_EQ(shown(std::string_view("a\0b\n\x7F", 5)), "'a\\x00b\\x0a\\x7f'");
  EXPECT_EQ(shown("\xFF\xC3"), "'\\xff\\xc3'");
  EXPECT_EQ(shown("\xC2\x9B"
                  "2J"),
            "'\\xc2\\x9b2J'");
}

TEST(Shown, IsOneWordForAShell) {
  EXPECT_EQ(shell_word("/srv/a.img"), "/srv/a.img");
  EXPECT_EQ(shell_word("my disk.img"), "'my disk.img'");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("it's"), R"('it'\''s')");
  EXPECT_EQ(shell_word("$(rm)"), "'$(rm)'");
  EXPECT_EQ(shell_word("d\xc3\xa9"), "'d\xc3\xa9'");
  EXPECT_EQ(shell_word("a\nb'c\\d"), R"($'a\x0ab\'c\\d')");
  EXPECT_EQ(shell_word("\xff"), R"($'\xff')");
  EXPECT_EQ(shell_word(std::string(1000, 'x') + " "), "'" + std::string(1000, 'x') + " '")
      << "whole";
}

TEST(Shown, CutsLongText) {
  const std::string text = shown(std::string(1 << 20, 'a'));
  EXPECT_EQ(text, "'" + std::string(64, 'a') + "...'");
  // Not within a character.
  EXPECT_EQ(printable("a\xE2\x82\xAC\xE2\x82\xAC", 2), "a\xE2\x82\xAC...");
}

TEST(Utf8, TellsValidFromInvalid) {
  for (const std::string_view good :
       {"", "abc", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(is_utf8(good)) << shown(good);
  }
  for (const std::string_view bad :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF", "\xE0\xA0",
        "\xE1\x80\x41", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF0\x90\x80", "\xF1\x80\x80\x41",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_FALSE(is_utf8(bad)) << shown(bad);
    EXPECT_FALSE(is_utf8("ok" + std::string(bad))) << shown(bad);
  }
}

}  // namespace
}  // namespace sluice::test
