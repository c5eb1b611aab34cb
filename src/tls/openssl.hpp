// OpenSSL, loaded when TLS is used for the first time: a server that is linked to its libraries has
// 5 MiB of them in memory, and few servers use TLS.
//
//   if (auto loaded = load_openssl(); !loaded) ...
//   openssl().SSL_new(context);
//
// The functions have the names of libssl and libcrypto; what OpenSSL's headers define as macros is
// called by the function behind it (SSL_ctrl). Any thread.
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "core/error.hpp"

namespace sluice::tls {

#define SLUICE_OPENSSL(each)                                                                       \
  each(ASN1_OCTET_STRING_free) each(ERR_clear_error) each(ERR_get_error)                           \
      each(ERR_reason_error_string) each(OPENSSL_cleanse) each(SSL_CTX_check_private_key)          \
          each(SSL_CTX_ctrl) each(SSL_CTX_free) each(SSL_CTX_get_ex_data)                          \
              each(SSL_CTX_load_verify_locations) each(SSL_CTX_new) each(SSL_CTX_set_cipher_list)  \
                  each(SSL_CTX_set_default_passwd_cb) each(SSL_CTX_set_default_verify_paths) each( \
                      SSL_CTX_set_ex_data) each(SSL_CTX_set_num_tickets) each(SSL_CTX_set_options) \
                      each(SSL_CTX_set_psk_client_callback) each(SSL_CTX_set_psk_server_callback)  \
                          each(SSL_CTX_set_verify) each(SSL_CTX_use_PrivateKey_file)               \
                              each(SSL_CTX_use_certificate_chain_file) each(SSL_ctrl)              \
                                  each(SSL_do_handshake) each(SSL_free) each(SSL_get0_param)       \
                                      each(SSL_get0_peer_certificate) each(SSL_get_SSL_CTX)        \
                                          each(SSL_get_error) each(SSL_get_verify_result) each(    \
                                              SSL_is_init_finished) each(SSL_new) each(SSL_read)   \
                                              each(SSL_set1_host) each(SSL_set_accept_state)       \
                                                  each(SSL_set_connect_state) each(SSL_set_fd)     \
                                                      each(SSL_shutdown) each(SSL_write)           \
                                                          each(TLS_method) each(                   \
                                                              X509_VERIFY_PARAM_set1_ip_asc)       \
                                                              each(X509_verify_cert_error_string)  \
                                                                  each(a2i_IPADDRESS)

struct OpenSsl {
#define SLUICE_DECLARE(name) decltype(&::name) name = nullptr;
  SLUICE_OPENSSL(SLUICE_DECLARE)
#undef SLUICE_DECLARE
};

// ENOENT: OpenSSL 3 is not installed.
Result<void> load_openssl();
// After a successful load_openssl().
const OpenSsl& openssl();

}  // namespace sluice::tls
