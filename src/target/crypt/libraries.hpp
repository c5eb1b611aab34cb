// libcryptsetup and libcrypto, loaded when a target needs them: few servers do, and a server keeps
// all of its libraries in memory.
//
//   auto library = Cryptsetup::load();        unloaded at the end of the last one
//   (*library)->crypt_init(&device, path);
//
// The functions have the names of the libraries. Any thread.
#pragma once

#include <libcryptsetup.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include <memory>

#include "core/error.hpp"

namespace sluice::crypt {

#define SLUICE_CRYPTSETUP(each)                                                                    \
  each(crypt_init) each(crypt_free) each(crypt_load) each(crypt_format)                            \
      each(crypt_metadata_locking) each(crypt_set_log_callback) each(crypt_get_type)               \
          each(crypt_get_cipher) each(crypt_get_cipher_mode) each(crypt_get_uuid)                  \
              each(crypt_get_label) each(crypt_get_data_offset) each(crypt_get_volume_key_size)    \
                  each(crypt_get_metadata_size) each(crypt_persistent_flags_get)                   \
                      each(crypt_volume_key_get) each(crypt_volume_key_verify)                     \
                          each(crypt_dump_json) each(crypt_keyslot_status) each(crypt_keyslot_max) \
                              each(crypt_keyslot_get_priority) each(crypt_keyslot_get_pbkdf)       \
                                  each(crypt_safe_memzero)

// Since 2.6; null in older ones.
#define SLUICE_CRYPTSETUP_TOKENS(each)                                       \
  each(crypt_keyslot_context_init_by_token) each(crypt_keyslot_context_free) \
      each(crypt_volume_key_get_by_keyslot_context)

#define SLUICE_LIBCRYPTO(each)                                                        \
  each(OSSL_LIB_CTX_new) each(OSSL_PROVIDER_load) each(OSSL_PROVIDER_query_operation) \
      each(OSSL_PROVIDER_get0_provider_ctx) each(EVP_Digest) each(EVP_sha256)

struct Cryptsetup {
#define SLUICE_DECLARE(name) decltype(&::name) name = nullptr;
  SLUICE_CRYPTSETUP(SLUICE_DECLARE)
  SLUICE_CRYPTSETUP_TOKENS(SLUICE_DECLARE)

  // ENOENT: it is not installed.
  static Result<std::shared_ptr<const Cryptsetup>> load();
};

struct Libcrypto {
  SLUICE_LIBCRYPTO(SLUICE_DECLARE)
#undef SLUICE_DECLARE
};

// Loads it at the first call, for the life of the process. ENOENT: OpenSSL 3 is not installed.
Result<const Libcrypto*> libcrypto();

}  // namespace sluice::crypt
