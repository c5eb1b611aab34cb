#include "target/crypt/cipher_functions.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <string_view>

#include "target/crypt/libraries.hpp"

namespace sluice::crypt {
namespace {

// In a context of its own, so that this program's choice of providers stays what it is.
OSSL_PROVIDER* default_provider(const Libcrypto& crypto) {
  static OSSL_PROVIDER* const loaded = [&]() -> OSSL_PROVIDER* {
    OSSL_LIB_CTX* const context = crypto.OSSL_LIB_CTX_new();
    return context == nullptr ? nullptr : crypto.OSSL_PROVIDER_load(context, "default");
  }();
  return loaded;
}

// "AES-256-XTS:1.3.111.2.1619.0.1.2": names, of which OpenSSL's own is the first.
bool is_named(const OSSL_ALGORITHM& algorithm, std::string_view name) {
  const std::string_view names(algorithm.algorithm_names);
  return names.substr(0, names.find(':')) == name;
}

void note(const OSSL_DISPATCH& entry, CipherFunctions& found) {
  switch (entry.function_id) {
    case OSSL_FUNC_CIPHER_NEWCTX:
      found.create = OSSL_FUNC_cipher_newctx(&entry);
      break;
    case OSSL_FUNC_CIPHER_FREECTX:
      found.free = OSSL_FUNC_cipher_freectx(&entry);
      break;
    case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
      found.begin_encrypting = OSSL_FUNC_cipher_encrypt_init(&entry);
      break;
    case OSSL_FUNC_CIPHER_DECRYPT_INIT:
      found.begin_decrypting = OSSL_FUNC_cipher_decrypt_init(&entry);
      break;
    case OSSL_FUNC_CIPHER_CIPHER:
      found.run = OSSL_FUNC_cipher_cipher(&entry);
      break;
    default:
      break;
  }
}

}  // namespace

Result<CipherFunctions> CipherFunctions::find(const char* name) {
  const auto crypto = libcrypto();
  if (!crypto) return std::unexpected(crypto.error());
  OSSL_PROVIDER* const provider = default_provider(**crypto);
  int no_cache = 0;
  const OSSL_ALGORITHM* each = provider == nullptr ? nullptr
                                                   : (*crypto)->OSSL_PROVIDER_query_operation(
                                                         provider, OSSL_OP_CIPHER, &no_cache);
  CipherFunctions found;
  for (; each != nullptr && each->algorithm_names != nullptr; ++each) {
    if (!is_named(*each, name)) continue;
    found.provider = (*crypto)->OSSL_PROVIDER_get0_provider_ctx(provider);
    for (const OSSL_DISPATCH* entry = each->implementation; entry->function_id != 0; ++entry) {
      note(*entry, found);
    }
    break;
  }
  if (found.create != nullptr && found.free != nullptr && found.begin_encrypting != nullptr &&
      found.begin_decrypting != nullptr && found.run != nullptr) {
    return found;
  }
  return fail(ENOENT, fmt::format("crypt: this OpenSSL has no cipher {}", name));
}

CipherContext::CipherContext(const CipherFunctions& functions, std::span<const std::byte> key,
                             bool encrypts)
    : context_(functions.create(functions.provider), functions.free),
      begin_(encrypts ? functions.begin_encrypting : functions.begin_decrypting),
      run_(functions.run) {
  const unsigned char none[kVectorBytes]{};
  if (context_ != nullptr &&
      begin_(context_.get(), reinterpret_cast<const unsigned char*>(key.data()), key.size(), none,
             sizeof(none), nullptr) != 1) {
    context_.reset();
  }
}

}  // namespace sluice::crypt
