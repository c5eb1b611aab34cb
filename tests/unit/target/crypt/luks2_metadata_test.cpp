// LUKS2 metadata: what is served, and what is refused by its name.
#include "target/crypt/luks2_metadata.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace sluice::test {
namespace {

using crypt::Layout;
using testing::HasSubstr;

struct Luks2Parts {
  std::string segment = R"("type":"crypt","offset":"16777216","size":"dynamic","iv_tweak":"0",)"
                        R"("encryption":"aes-xts-plain64","sector_size":4096)";
  std::string config = R"("json_size":"12288","keyslots_size":"16744448")";
  std::string more_segments = {};
  std::string key_size = "64";

  std::string text() const {
    return R"({"keyslots":{"3":{"type":"luks2","key_size":)" + key_size +
           R"(}},"tokens":{},"segments":{"0":{)" + segment + "}" + more_segments +
           R"(},"digests":{"0":{"type":"pbkdf2","keyslots":["3"],"segments":["0"]}},"config":{)" +
           config + "}}";
  }
};

Result<Layout> layout_of(const Luks2Parts& parts) {
  const auto metadata = crypt::parse_metadata(parts.text());
  if (!metadata) return std::unexpected(metadata.error());
  return crypt::read_layout(*metadata);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

Result<Layout> with_segment(std::string_view from, std::string_view to) {
  Luks2Parts parts;
  parts.segment = replaced(parts.segment, from, to);
  return layout_of(parts);
}

void expect_refused(const Result<Layout>& layout, int error, const std::string& words) {
  ASSERT_FALSE(layout) << words;
  EXPECT_EQ(layout.error().error, error) << layout.error().text;
  EXPECT_THAT(layout.error().text, HasSubstr(words));
}

TEST(Luks2Metadata, AnOrdinaryVolumeIsServed) {
  const auto layout = layout_of({});
  ASSERT_TRUE(layout) << layout.error().text;
  EXPECT_EQ(layout->data_offset, 16U << 20);
  EXPECT_EQ(layout->data_bytes, std::nullopt);
  EXPECT_EQ(layout->sector_bytes, 4096U);
  EXPECT_EQ(layout->key_bytes, 64U);
  EXPECT_FALSE(layout->allows_discards);
  const auto other = with_segment(R"("iv_tweak":"0")", R"("iv_tweak":"80")");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->first_number, 80U);
}

TEST(Luks2Metadata, PersistentFlagsAreHonouredOrNamed) {
  Luks2Parts parts;
  parts.config += R"(,"flags":["allow-discards","no-read-workqueue","same-cpu-crypt"])";
  const auto layout = layout_of(parts);
  ASSERT_TRUE(layout);
  EXPECT_TRUE(layout->allows_discards);
  EXPECT_THAT(layout->ignored_flags, testing::ElementsAre("no-read-workqueue", "same-cpu-crypt"));
}

// T7.1
TEST(Luks2Metadata, TokensAreListed) {
  Luks2Parts parts;
  EXPECT_TRUE(crypt::tokens_of(*crypt::parse_metadata(parts.text())).empty());
  const auto with_tokens = crypt::parse_metadata(replaced(
      parts.text(), R"("tokens":{})",
      R"("tokens":{"4":{"type":"systemd-tpm2","keyslots":["3","1"]},"5":{"keyslots":7},"6":[]})"));
  ASSERT_TRUE(with_tokens);
  const auto tokens = crypt::tokens_of(*with_tokens);
  ASSERT_EQ(tokens.size(), 3U);
  EXPECT_EQ(tokens[0].number, "4");
  EXPECT_EQ(tokens[0].type, "systemd-tpm2");
  EXPECT_EQ(tokens[0].keyslots, (std::vector<std::string>{"3", "1"}));
  EXPECT_EQ(tokens[1].type, "");
  EXPECT_TRUE(tokens[1].keyslots.empty());
}

TEST(Luks2Metadata, ReencryptionInProgressIsRefused) {
  for (const char* each : {"online-reencrypt", "online-reencrypt-v2", "offline-reencrypt"}) {
    Luks2Parts parts;
    parts.config += std::string(R"(,"requirements":{"mandatory":[")") + each + R"("]})";
    expect_refused(layout_of(parts), EBUSY, each);
  }
  Luks2Parts parts;
  parts.more_segments =
      R"(,"1":{"type":"crypt","offset":"0","size":"1048576","iv_tweak":"0",)"
      R"("encryption":"aes-xts-plain64","sector_size":512,"flags":["backup-final"]})";
  expect_refused(layout_of(parts), EBUSY, "several segments");
  parts = {};
  parts.segment += R"(,"flags":["in-reencryption"])";
  expect_refused(layout_of(parts), EBUSY, "in-reencryption");
}

// T7.2
TEST(Luks2Metadata, UnknownRequirementsAreRefusedByTheirName) {
  Luks2Parts parts;
  parts.config += R"(,"requirements":{"mandatory":["inline-hw-tags"]})";
  expect_refused(layout_of(parts), EOPNOTSUPP, "inline-hw-tags");
}

TEST(Luks2Metadata, IntegrityIsRefused) {
  Luks2Parts parts;
  parts.segment += R"(,"integrity":{"type":"aead", "journal_encryption" : "none"
})";
  expect_refused(layout_of(parts), EOPNOTSUPP, "integrity");
}

// T7.4
TEST(Luks2Metadata, OnlySectorsOf512To4096BytesAreServed) {
  for (const char* each : {"512", "1024", "2048"}) {
    EXPECT_TRUE(with_segment("4096", each)) << each;
  }
  for (const char* each : {"0", "1", "256", "513", "8192", "65536", "4294967808"}) {
    expect_refused(with_segment("4096", each), EOPNOTSUPP, each);
  }
}

// T7.9
TEST(Luks2Metadata, NumbersThatOverflowAreRefused) {
  for (const char* each : {"18446744073709551615", "9223372036854775808", "18446744073709551616",
                           "-1", "16777217", "0x1000", " 16777216", "16777216 ", ""}) {
    expect_refused(with_segment("16777216", each), EINVAL, "malformed");
  }
  for (const char* each : {"0", "18446744073709551615", "18446744073709547520", "4097", "-4096"}) {
    expect_refused(with_segment("dynamic", each), EINVAL, "malformed");
  }
  ASSERT_TRUE(with_segment("dynamic", "8192"));
  EXPECT_EQ(with_segment("dynamic", "8192")->data_bytes, 8192U);
}

// T7.6, T7.10
TEST(Luks2Metadata, OtherCiphersAndKeysAreRefusedByName) {
  expect_refused(with_segment("aes-xts-plain64", "serpent-xts-plain64"), EOPNOTSUPP,
                 "serpent-xts-plain64");
  Luks2Parts parts;
  parts.key_size = "48";
  expect_refused(layout_of(parts), EOPNOTSUPP, "384 bits");
  parts.key_size = "0";
  expect_refused(layout_of(parts), EINVAL, "no keyslot");
}

TEST(Luks2Metadata, OtherSegmentsAreRefused) {
  expect_refused(with_segment(R"("type":"crypt")", R"("type":"linear")"), EOPNOTSUPP, "linear");
  EXPECT_FALSE(crypt::parse_metadata("[]"));
  EXPECT_FALSE(crypt::parse_metadata("{"));
  EXPECT_FALSE(crypt::read_layout(*crypt::parse_metadata("{}")));
}

TEST(Luks2Copies, NothingIsFoundInOtherBytes) {
  const std::vector<std::byte> zeroes(64 << 10);
  EXPECT_FALSE(crypt::look_at_copies(zeroes).first.valid);
  EXPECT_FALSE(crypt::look_at_copies(zeroes).second.valid);
  EXPECT_FALSE(crypt::look_at_copies({}).first.valid);
  EXPECT_EQ(crypt::look_at_copies({}).disagreement(), "both headers are damaged");
}

// T7.8
TEST(Luks2Copies, DisagreementIsSaid) {
  using crypt::HeaderCopies;
  EXPECT_EQ((HeaderCopies{{true, 4}, {true, 4}}).disagreement(), "");
  EXPECT_THAT((HeaderCopies{{true, 4}, {true, 5}}).disagreement(), HasSubstr("newer"));
  EXPECT_THAT((HeaderCopies{{false, 0}, {true, 4}}).disagreement(), HasSubstr("first"));
  EXPECT_THAT((HeaderCopies{{true, 4}, {false, 0}}).disagreement(), HasSubstr("second"));
}

}  // namespace
}  // namespace sluice::test
