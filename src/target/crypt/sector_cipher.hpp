// SectorCipher: enciphers and deciphers sectors, each by itself, as dm-crypt does.
//
// Owned by one ring, which uses its key and contexts alone: several of them with the same key share
// nothing. It neither allocates nor locks once it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "target/crypt/cipher_functions.hpp"

namespace sluice::crypt {

// The initialisation vector of a sector is its number in units of 512 bytes, whatever its size.
enum class Cipher : uint8_t {
  aes_xts_plain64,
  aes_xts_plain,  // the lower 32 bits of the number: it begins again after 2 TiB
  aes_cbc_essiv_sha256,
};

// By the names of cryptsetup, such as "aes-xts-plain64". EOPNOTSUPP: it is not one of these, or
// does not take a key of that size.
Result<Cipher> find_cipher(std::string_view name, size_t key_bytes);

inline constexpr uint32_t kSectorUnitBytes = 512;  // of numbers
inline constexpr uint32_t kSectorBytesMax = 4096;

class SectorCipher {
 public:
  // `sector_bytes`: 512, 1024, 2048 or 4096. ENOMEM, EINVAL: OpenSSL refuses the key.
  static Result<std::unique_ptr<SectorCipher>> create(Cipher cipher, std::span<const std::byte> key,
                                                      uint32_t sector_bytes);

  // `number`: of the first sector. `from`: whole sectors; may be the same memory as `to`. False:
  // OpenSSL failed, and `to` holds nothing of use.
  bool encrypt(uint64_t number, std::span<const std::byte> from, std::byte* to) {
    return run(encrypting_, number, from, to);
  }
  bool decrypt(uint64_t number, std::span<const std::byte> from, std::byte* to) {
    return run(decrypting_, number, from, to);
  }

 private:
  SectorCipher(Cipher cipher, uint32_t sector_bytes)
      : cipher_(cipher), sector_bytes_(sector_bytes) {}
  Result<void> begin(std::span<const std::byte> key);
  Result<void> begin_essiv(std::span<const std::byte> key);
  bool run(CipherContext& context, uint64_t number, std::span<const std::byte> from, std::byte* to);

  const Cipher cipher_;
  const uint32_t sector_bytes_;
  CipherContext encrypting_;
  CipherContext decrypting_;
  CipherContext essiv_;  // none: the number itself is the vector
};

}  // namespace sluice::crypt
