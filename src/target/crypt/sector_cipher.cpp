#include "target/crypt/sector_cipher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "spec/shown.hpp"

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
  const auto crypto = libcrypto();
  if (!crypto) return std::unexpected(crypto.error());
  const Libcrypto& evp = **crypto;
  std::unique_ptr<SectorCipher> made(new SectorCipher(evp, cipher, sector_bytes));
  const bool is_long = key.size() > 32;
  const EVP_CIPHER* type = is_long ? evp.EVP_aes_256_xts() : evp.EVP_aes_128_xts();
  if (cipher == Cipher::aes_cbc_essiv_sha256) {
    type = key.size() == 32 ? evp.EVP_aes_256_cbc() : evp.EVP_aes_128_cbc();
    if (!made->begin_essiv(key)) return fail(ENOMEM, "OpenSSL cannot use AES for ESSIV");
  }
  made->encrypting_ = made->context(type, key, 1);
  made->decrypting_ = made->context(type, key, 0);
  if (made->encrypting_ && made->decrypting_) return made;
  return fail(EINVAL, "OpenSSL refuses the key");
}

void SectorCipher::FreeContext::operator()(EVP_CIPHER_CTX* context) const {
  (*libcrypto())->EVP_CIPHER_CTX_free(context);  // wipes it
}

SectorCipher::Context SectorCipher::context(const EVP_CIPHER* type, std::span<const std::byte> key,
                                            int encrypts) const {
  Context made(crypto_.EVP_CIPHER_CTX_new());
  const Vector none{};
  if (!made || crypto_.EVP_CipherInit_ex(made.get(), type, nullptr, as_chars(key.data()),
                                         none.data(), encrypts) != 1) {
    return nullptr;
  }
  crypto_.EVP_CIPHER_CTX_set_padding(made.get(), 0);
  return made;
}

// The vectors are enciphered by the hash of the key.
bool SectorCipher::begin_essiv(std::span<const std::byte> key) {
  std::array<std::byte, 32> hash{};
  unsigned length = 0;
  if (crypto_.EVP_Digest(key.data(), key.size(), reinterpret_cast<unsigned char*>(hash.data()),
                         &length, crypto_.EVP_sha256(), nullptr) == 1) {
    essiv_ = context(crypto_.EVP_aes_256_ecb(), hash, 1);
  }
  explicit_bzero(hash.data(), hash.size());
  return essiv_ != nullptr;
}

bool SectorCipher::run(EVP_CIPHER_CTX* context, uint64_t number, std::span<const std::byte> from,
                       std::byte* to) {
  for (size_t done = 0; done < from.size(); done += sector_bytes_) {
    const uint64_t own = number + done / kSectorUnitBytes;
    Vector vector = vector_of(cipher_ == Cipher::aes_xts_plain ? static_cast<uint32_t>(own) : own);
    int length = 0;
    if (essiv_ && crypto_.EVP_CipherUpdate(essiv_.get(), vector.data(), &length, vector.data(),
                                           static_cast<int>(vector.size())) != 1) {
      return false;
    }
    // Only the vector changes.
    if (crypto_.EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, vector.data(), -1) != 1 ||
        crypto_.EVP_CipherUpdate(context, reinterpret_cast<unsigned char*>(to + done), &length,
                                 as_chars(from.data() + done),
                                 static_cast<int>(sector_bytes_)) != 1) {
      return false;
    }
  }
  return true;
}

}  // namespace sluice::crypt
