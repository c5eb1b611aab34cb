// The ciphers of crypt: published vectors, the numbers of sectors, what is refused.
#include "target/crypt/sector_cipher.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "spec/hex.hpp"

namespace sluice::test {
namespace {

using crypt::Cipher;
using crypt::SectorCipher;

std::vector<std::byte> from_hex(std::string_view text) {
  const std::string bytes = *read_hex(text);
  const auto* const first = reinterpret_cast<const std::byte*>(bytes.data());
  return {first, first + bytes.size()};
}

// 00 01 02 ... as often as it takes.
std::vector<std::byte> counting(size_t bytes) {
  std::vector<std::byte> all(bytes);
  for (size_t i = 0; i < bytes; ++i) all[i] = static_cast<std::byte>(i);
  return all;
}

std::unique_ptr<SectorCipher> make_cipher(Cipher cipher, const std::vector<std::byte>& key,
                                          uint32_t sector_bytes = 512) {
  auto made = SectorCipher::create(cipher, key, sector_bytes);
  EXPECT_TRUE(made) << made.error().text;
  return made ? std::move(*made) : nullptr;
}

std::vector<std::byte> encrypted(SectorCipher& cipher, uint64_t number,
                                 const std::vector<std::byte>& from) {
  std::vector<std::byte> to(from.size());
  EXPECT_TRUE(cipher.encrypt(number, from, to.data()));
  return to;
}

// IEEE Std 1619-2007, annex B, vectors 4, 5 and 10.
TEST(SectorCipher, EncipherAsThePublishedVectors) {
  const auto key = from_hex("2718281828459045235360287471352631415926535897932384626433832795");
  auto cipher = make_cipher(Cipher::aes_xts_plain64, key);
  const auto once = encrypted(*cipher, 0, counting(512));
  EXPECT_EQ(std::vector(once.begin(), once.begin() + 32),
            from_hex("27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"));
  const auto twice = encrypted(*cipher, 1, once);
  EXPECT_EQ(std::vector(twice.begin(), twice.begin() + 32),
            from_hex("264d3ca8512194fec312c8c9891f279fefdd608d0c027b60483a3fa811d65ee5"));
  const auto long_key = from_hex(
      "2718281828459045235360287471352662497757247093699959574966967627"
      "3141592653589793238462643383279502884197169399375105820974944592");
  auto wide = make_cipher(Cipher::aes_xts_plain64, long_key);
  const auto far = encrypted(*wide, 0xff, counting(512));
  EXPECT_EQ(std::vector(far.begin(), far.begin() + 32),
            from_hex("1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"));
}

TEST(SectorCipher, DecipherInPlace) {
  const auto plain = counting(8192);
  for (const Cipher each :
       {Cipher::aes_xts_plain64, Cipher::aes_xts_plain, Cipher::aes_cbc_essiv_sha256}) {
    for (const uint32_t sector : {512U, 1024U, 2048U, 4096U}) {
      auto cipher = make_cipher(each, counting(32), sector);
      auto bytes = encrypted(*cipher, 77, plain);
      EXPECT_NE(bytes, plain);
      EXPECT_TRUE(cipher->decrypt(77, bytes, bytes.data()));
      EXPECT_EQ(bytes, plain);
    }
  }
}

// T7.3: sector n of 4096 bytes has the vector 8n.
TEST(SectorCipher, LargeSectorsCountUnitsOf512Bytes) {
  for (const Cipher each : {Cipher::aes_xts_plain64, Cipher::aes_cbc_essiv_sha256}) {
    auto cipher = make_cipher(each, counting(32), 4096);
    const auto two = encrypted(*cipher, 16, counting(8192));
    const auto second = encrypted(*cipher, 24, counting(4096));
    EXPECT_EQ(std::vector(two.begin() + 4096, two.end()), second);
    auto small = make_cipher(each, counting(32), 512);
    const auto units = encrypted(*small, 16, counting(8192));
    EXPECT_EQ(std::vector(two.begin(), two.begin() + 16),
              std::vector(units.begin(), units.begin() + 16))
        << "the vector of the first unit";
  }
}

// T7.6: the 32 bits of `plain` begin again after 2 TiB.
TEST(SectorCipher, OnlyPlainBeginsAgainAfter2TiB) {
  constexpr uint64_t kNumbers = uint64_t{1} << 32;
  const auto data = counting(512);
  auto plain = make_cipher(Cipher::aes_xts_plain, counting(64));
  auto plain64 = make_cipher(Cipher::aes_xts_plain64, counting(64));
  EXPECT_EQ(encrypted(*plain, kNumbers + 5, data), encrypted(*plain, 5, data));
  EXPECT_NE(encrypted(*plain64, kNumbers + 5, data), encrypted(*plain64, 5, data));
  EXPECT_EQ(encrypted(*plain64, 5, data), encrypted(*plain, 5, data));
  // Also within one call.
  const auto two = counting(1024);
  const auto over = encrypted(*plain, kNumbers - 1, two);
  EXPECT_EQ(std::vector(over.begin() + 512, over.end()),
            encrypted(*plain, 0, std::vector(two.begin() + 512, two.end())));
}

// T7.6: anything else is refused by its name.
TEST(SectorCipher, OnlyKnownCiphersWithKnownKeysAreServed) {
  EXPECT_EQ(*crypt::find_cipher("aes-xts-plain64", 64), Cipher::aes_xts_plain64);
  EXPECT_EQ(*crypt::find_cipher("aes-xts-plain", 32), Cipher::aes_xts_plain);
  EXPECT_EQ(*crypt::find_cipher("aes-cbc-essiv:sha256", 16), Cipher::aes_cbc_essiv_sha256);
  for (const char* name : {"aes-xts-plain64be", "aes-cbc-plain64", "aes-xts-null", "aes-ecb",
                           "serpent-xts-plain64", "cipher_null-ecb", "aes-xts-essiv:sha256", "",
                           "AES-XTS-PLAIN64", "capi:xts(aes)-plain64"}) {
    const auto found = crypt::find_cipher(name, 64);
    ASSERT_FALSE(found) << name;
    EXPECT_EQ(found.error().error, EOPNOTSUPP);
    EXPECT_THAT(found.error().text, testing::HasSubstr(name));
  }
  for (const size_t bytes : {0U, 16U, 24U, 48U, 63U, 128U}) {  // T7.10
    EXPECT_FALSE(crypt::find_cipher("aes-xts-plain64", bytes)) << bytes;
  }
  EXPECT_FALSE(crypt::find_cipher("aes-cbc-essiv:sha256", 64));
}

TEST(SectorCipher, SeveralThreadsShareAKeyAndNothingElse) {
  const auto key = counting(64);
  auto first = make_cipher(Cipher::aes_xts_plain64, key);
  const auto expected = encrypted(*first, 9, counting(65536));
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      auto own = make_cipher(Cipher::aes_xts_plain64, key);
      for (int round = 0; round < 50; ++round) {
        EXPECT_EQ(encrypted(*own, 9, counting(65536)), expected);
      }
    });
  }
}

}  // namespace
}  // namespace sluice::test
