// Where a passphrase comes from, and where it ends.
#include "target/crypt/passphrase.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>

#include "core/descriptor.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

using crypt::KeyFrom;
using crypt::KeySource;
using crypt::Secret;
using testing::HasSubstr;

Descriptor file_with(std::string_view text) {
  Descriptor file(memfd_create("key", MFD_CLOEXEC));
  EXPECT_EQ(write(file.number(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  lseek(file.number(), 0, SEEK_SET);
  return file;
}

std::string text_in(Secret& secret) { return {secret.text(), secret.size()}; }

std::string bytes_of(std::string_view content, const KeySource& source = {}) {
  const Descriptor file = file_with(content);
  auto got = crypt::read_key_bytes(file.number(), "it", source);
  return got ? text_in(*got) : "error: " + got.error().text;
}

KeySource source_in(std::string_view spec) {
  const auto parsed = parse_spec(spec, target_vocabulary());
  EXPECT_TRUE(parsed) << parsed.error().text;
  auto source = crypt::read_key_source(*parsed);
  EXPECT_TRUE(source) << source.error().text;
  return source.value_or(KeySource());
}

std::string refusal_of(std::string_view spec) {
  const auto parsed = parse_spec(spec, target_vocabulary());
  if (!parsed) return parsed.error().text;
  const auto options = crypt::read_options(*parsed);
  return options ? std::string() : options.error().text;
}

// As with cryptsetup --key-file.
TEST(Passphrase, EveryByteOfAKeyFileCounts) {
  EXPECT_EQ(bytes_of("secret"), "secret");
  EXPECT_EQ(bytes_of("secret\n"), "secret\n");
  EXPECT_EQ(bytes_of("two\nlines\n"), "two\nlines\n");
  const std::string binary("a\0b\xff\0", 5);  // T7.14
  EXPECT_EQ(bytes_of(binary), binary);
}

TEST(Passphrase, OffsetAndSizeSelectItsBytes) {
  EXPECT_EQ(bytes_of("0123456789", {.offset = 4}), "456789");
  EXPECT_EQ(bytes_of("0123456789", {.offset = 4, .size = 3}), "456");
  EXPECT_THAT(bytes_of("0123456789", {.offset = 4, .size = 7}), HasSubstr("key_file_size"));
  EXPECT_THAT(bytes_of("0123456789", {.offset = 10}), HasSubstr("no passphrase"));
  EXPECT_THAT(bytes_of(""), HasSubstr("no passphrase"));
}

TEST(Passphrase, APipeIsReadInPieces) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Descriptor input(ends[0]);
  ASSERT_EQ(write(ends[1], "skipped", 7), 7);
  ASSERT_EQ(write(ends[1], "key\n", 4), 4);
  close(ends[1]);
  auto got = crypt::read_key_bytes(input.number(), "a pipe", {.offset = 7});
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(text_in(*got), "key\n");
}

TEST(Passphrase, MoreThan8MiBAreRefused) {
  const Descriptor file(memfd_create("key", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.number(), (8 << 20) + 1), 0);
  EXPECT_FALSE(crypt::read_key_bytes(file.number(), "it", {}));
  ASSERT_EQ(ftruncate(file.number(), 8 << 20), 0);
  lseek(file.number(), 0, SEEK_SET);
  EXPECT_TRUE(crypt::read_key_bytes(file.number(), "it", {}));
}

TEST(Passphrase, ACommandWritesIt) {
  KeySource source{.from = KeyFrom::command, .place = "printf 'one\\ntwo'; exit 0"};
  auto got = crypt::read_passphrase(source);
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(text_in(*got), "one\ntwo");
  source.offset = 4;
  EXPECT_EQ(crypt::read_passphrase(source)->size(), 3U);
  source.place = "echo nothing >&2; exit 3";
  const auto failed = crypt::read_passphrase(source);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().text, HasSubstr("status 3"));
  source.place = "true";
  EXPECT_FALSE(crypt::read_passphrase(source));
}

TEST(Passphrase, WhatTheUserGivesIsForgottenWhenAsked) {
  const KeySource typed = source_in("crypt(mem:1M)");
  EXPECT_EQ(typed.from, KeyFrom::terminal);
  const auto nobody = crypt::read_passphrase(typed);
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().error, EACCES);
  crypt::give_passphrase(typed.identity, std::move(*Secret::copy_of({})));
  EXPECT_TRUE(crypt::read_passphrase(typed));
  EXPECT_FALSE(crypt::read_passphrase(source_in("crypt(mem:2M)"))) << "of another volume";
  crypt::forget_passphrases();
  EXPECT_FALSE(crypt::read_passphrase(typed));
}

TEST(Passphrase, TheStandardInputIsDescriptor0) {
  const KeySource source = source_in("crypt(mem:1M, key_file=-)");
  EXPECT_EQ(source.from, KeyFrom::descriptor);
  EXPECT_EQ(source.descriptor, 0);
  EXPECT_EQ(source.identity, source_in("crypt(mem:2M, key_fd=0)").identity);
}

TEST(CryptOptions, ContradictionsAreRefused) {
  EXPECT_THAT(refusal_of("crypt(mem:1M, key_file=/a, key_fd=3)"), HasSubstr("one of"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, key_file_size=3)"), HasSubstr("go with"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, type=luks3)"), HasSubstr("luks or plain"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, cipher=aes-xts-plain64)"), HasSubstr("cipher"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, type=plain, keyslot=1)"), HasSubstr("keyslot"));
  EXPECT_EQ(refusal_of("crypt(mem:1M, key_file=/a, keyslot=31, allow_discards)"), "");
}

TEST(CryptOptions, APlainVolumeSaysEverythingItself) {
  const std::string whole =
      "crypt(mem:1M, type=plain, cipher=aes-xts-plain64, size=512, key_file=/a";
  EXPECT_EQ(refusal_of(whole + ")"), "");
  EXPECT_THAT(refusal_of(whole + ", hash=sha256)"), HasSubstr("not hashed"));
  const std::string piped = "crypt(mem:1M, type=plain, cipher=aes-xts-plain64, size=512, ";
  EXPECT_EQ(refusal_of(piped + "hash=sha256, key_file=-)"), "") << "as with cryptsetup";
  EXPECT_EQ(refusal_of(piped + "hash=sha256, key_fd=0)"), "");
  EXPECT_THAT(refusal_of(piped + "hash=sha256, key_fd=3)"), HasSubstr("not hashed"));
  EXPECT_THAT(refusal_of(whole + ", offset=100)"), HasSubstr("multiple of 512"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, type=plain, size=512)"), HasSubstr("cipher"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, type=plain, cipher=aes-xts-plain64)"), HasSubstr("bits"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, type=plain, cipher=aes-xts-plain64, size=512)"),
              HasSubstr("hash"));
  EXPECT_THAT(refusal_of("crypt(mem:1M, type=plain, cipher=aes-lrw-benbi, size=512, key_file=/a)"),
              HasSubstr("aes-lrw-benbi"));
}

// T7.14
TEST(CryptSecret, IsWipedAndPassedInAFile) {
  const std::string text("ab\0cd", 5);
  auto secret = Secret::copy_of(std::as_bytes(std::span(text)));
  ASSERT_TRUE(secret);
  Descriptor file;
  auto kept = Secret::in_file(secret->bytes(), file);
  ASSERT_TRUE(kept);
  auto passed = Secret::from_file(file.number());
  ASSERT_TRUE(passed);
  EXPECT_EQ(text_in(*passed), text);
  EXPECT_LT(write(file.number(), "x", 1), 0) << "sealed";
  *kept = Secret();
  EXPECT_EQ(text_in(*passed), text) << "a copy of its own";
  passed->shorten(2);
  EXPECT_EQ(text_in(*passed), "ab");
  EXPECT_EQ(passed->text()[3], 0) << "what is left out is wiped";
  EXPECT_FALSE(Secret::from_file(Descriptor(memfd_create("empty", MFD_CLOEXEC)).number()));
}

}  // namespace
}  // namespace sluice::test
