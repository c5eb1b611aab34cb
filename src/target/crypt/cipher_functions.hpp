// The functions of OpenSSL's default provider for one cipher, as EVP calls them.
//
// EVP itself takes longer to set an initialisation vector than AES takes for 256 bytes: it asks the
// provider for the length of the vector by the names of its parameters. Sectors of 512 bytes have a
// vector each.
#pragma once

#include <openssl/core_dispatch.h>

#include <cstddef>
#include <memory>
#include <span>

#include "core/error.hpp"

namespace sluice::crypt {

struct CipherFunctions {
  void* provider = nullptr;  // the argument of create
  OSSL_FUNC_cipher_newctx_fn* create = nullptr;
  OSSL_FUNC_cipher_freectx_fn* free = nullptr;  // wipes the key
  OSSL_FUNC_cipher_encrypt_init_fn* begin_encrypting = nullptr;
  OSSL_FUNC_cipher_decrypt_init_fn* begin_decrypting = nullptr;
  OSSL_FUNC_cipher_cipher_fn* run = nullptr;  // whole blocks, without padding

  // By OpenSSL's name, such as "AES-256-XTS". ENOENT: OpenSSL 3 is not installed, or lacks it.
  static Result<CipherFunctions> find(const char* name);
};

// A key for one direction. Owned by one ring.
class CipherContext {
 public:
  CipherContext() = default;
  CipherContext(const CipherFunctions& functions, std::span<const std::byte> key, bool encrypts);
  // False: there is no memory, or OpenSSL refuses the key.
  explicit operator bool() const { return context_ != nullptr; }

  // `vector`: of 16 bytes; null: the cipher has none. `to`: may be `from`. False: OpenSSL failed.
  bool run(const unsigned char* vector, const unsigned char* from, size_t bytes,
           unsigned char* to) {
    size_t done = 0;
    return (vector == nullptr ||
            begin_(context_.get(), nullptr, 0, vector, kVectorBytes, nullptr) == 1) &&
           run_(context_.get(), to, &done, bytes, from, bytes) == 1;
  }

  static constexpr size_t kVectorBytes = 16;

 private:
  std::unique_ptr<void, OSSL_FUNC_cipher_freectx_fn*> context_{nullptr, nullptr};
  OSSL_FUNC_cipher_encrypt_init_fn* begin_ = nullptr;
  OSSL_FUNC_cipher_cipher_fn* run_ = nullptr;
};

}  // namespace sluice::crypt
