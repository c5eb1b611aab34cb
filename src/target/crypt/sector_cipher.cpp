#include "target/crypt/sector_cipher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "spec/shown.hpp"
#include "target/crypt/libraries.hpp"

namespace sluice::crypt {
namespace {

using Vector = std::array<unsigned char, 16>;

struct KnownCipher {
  std::string_view name;
  Cipher cipher;
  std::array<size_t, 2> key_bytes;
};
constexpr KnownCipher kCiphers[] = {
    {"aes-xts-plain64", Cipher::aes_xts_plain64, {32, 64}},
    {"aes-xts-plain", Cipher::aes_xts_plain, {32, 64}},
    {"aes-cbc-essiv:sha256", Cipher::aes_cbc_essiv_sha256, {16, 32}},
};

const unsigned char* as_chars(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

Vector vector_of(uint64_t number) {
  Vector vector{};
  for (size_t i = 0; i < sizeof(number); ++i) {
    vector[i] = static_cast<unsigned char>(number >> (8 * i));
  }
  return vector;
}

}  // namespace

Result<Cipher> find_cipher(std::string_view name, size_t key_bytes) {
  const auto found = std::ranges::find(kCiphers, name, &KnownCipher::name);
  if (found == std::end(kCiphers)) {
    return fail(EOPNOTSUPP,
                fmt::format("the cipher {} is not served: only aes-xts-plain64, aes-xts-plain and "
                            "aes-cbc-essiv:sha256 are",
                            shown(name)));
  }
  if (std::ranges::find(found->key_bytes, key_bytes) == found->key_bytes.end()) {
    return fail(EOPNOTSUPP,
                fmt::format("{} with a key of {} bits is not served: only {} and {} bits are", name,
                            8 * key_bytes, 8 * found->key_bytes[0], 8 * found->key_bytes[1]));
  }
  return found->cipher;
}

Result<std::unique_ptr<SectorCipher>> SectorCipher::create(Cipher cipher,
                                                           std::span<const std::byte> key,
                                                           uint32_t sector_bytes) {
  std::unique_ptr<SectorCipher> made(new SectorCipher(cipher, sector_bytes));
  auto begun = made->begin(key);
  if (begun && cipher == Cipher::aes_cbc_essiv_sha256) begun = made->begin_essiv(key);
  if (!begun) return std::unexpected(begun.error());
  return made;
}

Result<void> SectorCipher::begin(std::span<const std::byte> key) {
  const char* name = key.size() > 32 ? "AES-256-XTS" : "AES-128-XTS";
  if (cipher_ == Cipher::aes_cbc_essiv_sha256) {
    name = key.size() == 32 ? "AES-256-CBC" : "AES-128-CBC";
  }
  const auto functions = CipherFunctions::find(name);
  if (!functions) return std::unexpected(functions.error());
  encrypting_ = CipherContext(*functions, key, true);
  decrypting_ = CipherContext(*functions, key, false);
  if (encrypting_ && decrypting_) return {};
  return fail(EINVAL, "OpenSSL refuses the key");
}

// The vectors are enciphered by the hash of the key.
Result<void> SectorCipher::begin_essiv(std::span<const std::byte> key) {
  const auto functions = CipherFunctions::find("AES-256-ECB");
  if (!functions) return std::unexpected(functions.error());
  const auto crypto = libcrypto();
  std::array<std::byte, 32> hash{};
  unsigned length = 0;
  if (crypto &&
      (*crypto)->EVP_Digest(key.data(), key.size(), reinterpret_cast<unsigned char*>(hash.data()),
                            &length, (*crypto)->EVP_sha256(), nullptr) == 1) {
    essiv_ = CipherContext(*functions, hash, true);
  }
  explicit_bzero(hash.data(), hash.size());
  if (essiv_) return {};
  return fail(ENOMEM, "OpenSSL cannot use AES for ESSIV");
}

bool SectorCipher::run(CipherContext& context, uint64_t number, std::span<const std::byte> from,
                       std::byte* to) {
  for (size_t done = 0; done < from.size(); done += sector_bytes_) {
    const uint64_t own = number + done / kSectorUnitBytes;
    Vector vector = vector_of(cipher_ == Cipher::aes_xts_plain ? static_cast<uint32_t>(own) : own);
    if (essiv_ && !essiv_.run(nullptr, vector.data(), vector.size(), vector.data())) return false;
    if (!context.run(vector.data(), as_chars(from.data() + done), sector_bytes_,
                     reinterpret_cast<unsigned char*>(to + done))) {
      return false;
    }
  }
  return true;
}

}  // namespace sluice::crypt
