#include "target/rbd/options.hpp"

#include <gtest/gtest.h>

#include <cerrno>

#include "target/registry.hpp"

namespace sluice::test {
namespace {

using rbd::parse_image_name;

Result<rbd::Options> read_words(std::string_view text) {
  const auto spec = parse_spec(text, target_vocabulary());
  if (!spec) return std::unexpected(spec.error());
  return rbd::read_options(*spec);
}

TEST(RbdOptionsTest, Names) {
  const auto plain = parse_image_name("pool/image");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->pool, "pool");
  EXPECT_EQ(plain->name_space, "");
  EXPECT_EQ(plain->image, "image");
  EXPECT_EQ(plain->snapshot, "");
  const auto full = parse_image_name("pool/space/image@snap");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->pool, "pool");
  EXPECT_EQ(full->name_space, "space");
  EXPECT_EQ(full->image, "image");
  EXPECT_EQ(full->snapshot, "snap");
  for (const char* text : {"pool/image", "pool/space/image", "pool/image@snap", "p/s/i@x"}) {
    EXPECT_EQ(parse_image_name(text)->text(), text);
  }
}

TEST(RbdOptionsTest, NamesThatAreNone) {
  constexpr std::string_view kNone[] = {"",
                                        "image",
                                        "/image",
                                        "pool/",
                                        "pool//image",
                                        "pool/space/sub/image",
                                        "pool/image@",
                                        "pool/@snap",
                                        "pool/image@a@b",
                                        "pool@snap/image",
                                        "pool/space@snap/image",
                                        std::string_view("pool/im\0age", 11)};
  for (const std::string_view text : kNone) {
    const auto name = parse_image_name(text);
    ASSERT_FALSE(name) << text;
    EXPECT_EQ(name.error().error, EINVAL) << text;
    EXPECT_NE(name.error().text.find("rbd:POOL/IMAGE"), std::string::npos) << name.error().text;
  }
}

TEST(RbdOptionsTest, Words) {
  const auto plain = read_words("rbd:pool/image");
  ASSERT_TRUE(plain) << plain.error().text;
  EXPECT_EQ(plain->conf, "/etc/ceph/ceph.conf");
  EXPECT_EQ(plain->id, "admin");
  EXPECT_TRUE(plain->exclusive);  // T8.4
  EXPECT_FALSE(plain->read_only);
  EXPECT_EQ(plain->timeout, std::chrono::seconds(60));  // T8.17
  const auto all = read_words(
      "rbd(pool/image, conf=/c, id=me, keyring=/k, exclusive=no, timeout=1500ms, read_only)");
  ASSERT_TRUE(all) << all.error().text;
  EXPECT_EQ(all->conf, "/c");
  EXPECT_EQ(all->id, "me");
  EXPECT_EQ(all->keyring, "/k");
  EXPECT_FALSE(all->exclusive);
  EXPECT_TRUE(all->read_only);
  EXPECT_EQ(all->timeout, std::chrono::seconds(2)) << "whole seconds, rounded up";
}

TEST(RbdOptionsTest, WordsThatAreRefused) {
  for (const char* text :
       {"rbd:image", "rbd()", "rbd(pool/image, timeout=0)", "rbd(pool/image, timeout=2h)",
        "rbd(pool/image, timeout=5)", "rbd(pool/image, timeout=soon)",
        "rbd(pool/image, id=client.admin)", "rbd(pool/image, id=\"\")",
        "rbd(pool/image, exclusive=perhaps)", "rbd(pool/image, pool=x)"}) {
    const auto options = read_words(text);
    ASSERT_FALSE(options) << text;
    EXPECT_EQ(options.error().error, EINVAL) << text;
  }
}

TEST(RbdOptionsTest, WrittenAndReadAgain) {
  const auto spec = parse_spec("rbd(p/s/i@x, conf=/c, timeout=5s)", target_vocabulary());
  ASSERT_TRUE(spec);
  EXPECT_EQ(*parse_spec(to_text(*spec, target_vocabulary()), target_vocabulary()), *spec);
  EXPECT_EQ(*parse_spec(to_json(*spec, target_vocabulary()), target_vocabulary()), *spec);
}

}  // namespace
}  // namespace sluice::test
