#include "tls/credentials.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <vector>

#include "tls/openssl.hpp"

namespace sluice::tls {

struct Credentials::Keys {
  using Key = std::vector<unsigned char>;

  std::map<std::string, Key> all;
  std::string chosen;  // by a client

  ~Keys() {
    for (auto& [name, key] : all) openssl().OPENSSL_cleanse(key.data(), key.size());
  }
};

namespace {

using Keys = Credentials::Keys;

constexpr size_t kKeyBytesMin = 16;
constexpr size_t kKeyBytesMax = 256;

std::string reason() {
  const unsigned long code = openssl().ERR_get_error();
  openssl().ERR_clear_error();
  const char* const text = openssl().ERR_reason_error_string(code);
  return text == nullptr ? "it cannot be used" : text;
}

// A regular file: reading another kind might wait.
Result<void> check_readable(const std::string& file) {
  struct stat status{};
  if (stat(file.c_str(), &status) != 0 || access(file.c_str(), R_OK) != 0) {
    return fail(errno, fmt::format("TLS: cannot read {}: {}", file, std::strerror(errno)));
  }
  if (S_ISREG(status.st_mode)) return {};
  return fail(EINVAL, fmt::format("TLS: {} is no regular file", file));
}

// Nobody is there to type a passphrase.
int no_passphrase(char* /*room*/, int /*length*/, int /*writes*/, void* /*data*/) { return -1; }

std::unexpected<Error> unusable(const std::string& file) {
  return fail(EINVAL, fmt::format("TLS: {}: {}", file, reason()));
}

int digit_of(char sign) {
  if (sign >= '0' && sign <= '9') return sign - '0';
  if (sign >= 'a' && sign <= 'f') return sign - 'a' + 10;
  if (sign >= 'A' && sign <= 'F') return sign - 'A' + 10;
  return -1;
}

// False: not hexadecimal, or of another length than a key has.
bool read_key(std::string_view digits, Keys::Key& key) {
  if (digits.size() % 2 != 0 || digits.size() < 2 * kKeyBytesMin ||
      digits.size() > 2 * kKeyBytesMax) {
    return false;
  }
  key.reserve(digits.size() / 2);  // so that no former place keeps a part of it
  for (size_t i = 0; i < digits.size(); i += 2) {
    const int high = digit_of(digits[i]);
    const int low = digit_of(digits[i + 1]);
    if (high < 0 || low < 0) return false;
    key.push_back(static_cast<unsigned char>(16 * high + low));
  }
  return true;
}

// NAME:KEY. False: it is not, or the name is there already.
bool read_line(std::string_view line, Keys& keys) {
  const size_t colon = line.find(':');
  if (colon == 0 || colon == std::string_view::npos || colon >= PSK_MAX_IDENTITY_LEN) return false;
  Keys::Key key;
  const std::string name(line.substr(0, colon));
  if (!read_key(line.substr(colon + 1), key) || keys.all.contains(name)) {
    openssl().OPENSSL_cleanse(key.data(), key.size());
    return false;
  }
  keys.all[name] = std::move(key);
  return true;
}

Result<void> read_keys(const std::string& file, Keys& keys) {
  if (auto checked = check_readable(file); !checked) return checked;
  std::ifstream lines(file);
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    const bool is_well = read_line(line, keys);
    openssl().OPENSSL_cleanse(line.data(), line.size());
    if (!is_well) {
      return fail(EINVAL,
                  fmt::format("TLS: line {} of {} is not NAME:KEY, with a new name and a key "
                              "of {} to {} bytes in hexadecimal",
                              number, file, kKeyBytesMin, kKeyBytesMax));
    }
  }
  if (!keys.all.empty()) return {};
  return fail(EINVAL, fmt::format("TLS: {} has no key: add a line NAME:KEY", file));
}

const Keys* keys_of(const SSL* ssl) {
  return static_cast<const Keys*>(openssl().SSL_CTX_get_ex_data(openssl().SSL_get_SSL_CTX(ssl), 0));
}

unsigned give_key(const Keys& keys, const std::string& name, unsigned char* room, unsigned most) {
  const auto found = keys.all.find(name);
  if (found == keys.all.end() || found->second.size() > most) return 0;
  std::ranges::copy(found->second, room);
  return static_cast<unsigned>(found->second.size());
}

unsigned key_of_client(SSL* ssl, const char* /*hint*/, char* identity, unsigned identity_most,
                       unsigned char* room, unsigned most) {
  const Keys* const keys = keys_of(ssl);
  if (keys == nullptr || keys->chosen.size() >= identity_most) return 0;
  std::ranges::copy(keys->chosen, identity);
  identity[keys->chosen.size()] = '\0';
  return give_key(*keys, keys->chosen, room, most);
}

unsigned key_of_server(SSL* ssl, const char* identity, unsigned char* room, unsigned most) {
  const Keys* const keys = keys_of(ssl);
  return keys == nullptr || identity == nullptr ? 0 : give_key(*keys, identity, room, most);
}

bool is_address(const std::string& name) {
  ASN1_OCTET_STRING* const address = openssl().a2i_IPADDRESS(name.c_str());
  openssl().ASN1_OCTET_STRING_free(address);
  openssl().ERR_clear_error();
  return address != nullptr;
}

}  // namespace

Credentials::Credentials() : context_(openssl().SSL_CTX_new(openssl().TLS_method())) {
  if (context_ == nullptr) return;
  openssl().SSL_CTX_ctrl(context_, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, nullptr);
  openssl().SSL_CTX_set_options(context_,
                                SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  openssl().SSL_CTX_set_default_passwd_cb(context_, no_passphrase);
  openssl().SSL_CTX_ctrl(context_, SSL_CTRL_SET_DH_AUTO, 1, nullptr);
  openssl().SSL_CTX_ctrl(context_, SSL_CTRL_MODE,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                             SSL_MODE_RELEASE_BUFFERS,
                         nullptr);
  openssl().SSL_CTX_ctrl(context_, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, nullptr);
}

Credentials::~Credentials() { openssl().SSL_CTX_free(context_); }

Result<void> Credentials::trust(const std::string& directory, bool needed) {
  const std::string file = directory + "/ca-cert.pem";
  if (!needed && access(file.c_str(), F_OK) != 0) return {};
  if (auto checked = check_readable(file); !checked) return checked;
  if (openssl().SSL_CTX_load_verify_locations(context_, file.c_str(), nullptr) != 1)
    return unusable(file);
  return {};
}

Result<void> Credentials::use_certificates(const std::string& directory, std::string_view role,
                                           bool needed) {
  const std::string certificate = fmt::format("{}/{}-cert.pem", directory, role);
  const std::string key = fmt::format("{}/{}-key.pem", directory, role);
  if (!needed && access(certificate.c_str(), F_OK) != 0) return {};
  for (const std::string& file : {certificate, key}) {
    if (auto checked = check_readable(file); !checked) return checked;
  }
  if (openssl().SSL_CTX_use_certificate_chain_file(context_, certificate.c_str()) != 1) {
    return unusable(certificate);
  }
  if (openssl().SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      openssl().SSL_CTX_check_private_key(context_) != 1) {
    return unusable(key);
  }
  return {};
}

Result<void> Credentials::use_keys(const std::string& file, const std::string& name,
                                   bool is_server) {
  keys_ = std::make_unique<Keys>();
  if (auto read = read_keys(file, *keys_); !read) return read;
  if (!is_server) {
    if (name.empty() && keys_->all.size() != 1) {
      return fail(EINVAL, fmt::format("TLS: {} has several keys: write NAME@ before the host, or "
                                      "before the export of a socket",
                                      file));
    }
    keys_->chosen = name.empty() ? keys_->all.begin()->first : name;
    if (!keys_->all.contains(keys_->chosen)) {
      return fail(ESRCH, fmt::format("TLS: {} has no key of the name {}", file, name));
    }
  }
  openssl().SSL_CTX_set_ex_data(context_, 0, keys_.get());
  if (is_server) {
    openssl().SSL_CTX_set_psk_server_callback(context_, key_of_server);
  } else {
    openssl().SSL_CTX_set_psk_client_callback(context_, key_of_client);
  }
  // Of TLS 1.2; those of TLS 1.3 fit any key. Without forward secrecy only as a last resort.
  if (openssl().SSL_CTX_set_cipher_list(context_, "kECDHEPSK:kDHEPSK:kPSK:!eNULL:!aNULL") != 1) {
    return unusable(file);
  }
  return {};
}

Result<std::shared_ptr<const Credentials>> Credentials::of_client(const ClientFiles& files) {
  if (auto loaded = load_openssl(); !loaded) return std::unexpected(loaded.error());
  std::shared_ptr<Credentials> made(new Credentials());
  if (made->context_ == nullptr) return fail(ENOMEM, "TLS: out of memory");
  if (!files.psk_file.empty()) {
    if (auto used = made->use_keys(files.psk_file, files.psk_name, false); !used) {
      return std::unexpected(used.error());
    }
    // A server of TLS 1.3 may pass over the key and show a certificate: no authority is trusted.
    openssl().SSL_CTX_set_verify(made->context_, SSL_VERIFY_PEER, nullptr);
    return made;
  }
  if (files.verify_peer && files.peer_name.empty()) {
    return fail(EINVAL, "TLS: there is no name that the server's certificate must have");
  }
  Result<void> used;
  if (files.certificates.empty()) {
    openssl().SSL_CTX_set_default_verify_paths(made->context_);
  } else {
    used = made->trust(files.certificates, files.verify_peer);
    if (used) used = made->use_certificates(files.certificates, "client", false);
  }
  if (!used) return std::unexpected(used.error());
  if (files.verify_peer) {
    openssl().SSL_CTX_set_verify(made->context_, SSL_VERIFY_PEER, nullptr);
    made->peer_name_ = files.peer_name;
  }
  return made;
}

Result<std::shared_ptr<const Credentials>> Credentials::of_server(const ServerFiles& files) {
  if (auto loaded = load_openssl(); !loaded) return std::unexpected(loaded.error());
  std::shared_ptr<Credentials> made(new Credentials());
  made->is_server_ = true;
  if (made->context_ == nullptr) return fail(ENOMEM, "TLS: out of memory");
  openssl().SSL_CTX_set_num_tickets(made->context_, 0);
  Result<void> used;
  if (!files.psk_file.empty()) {
    used = made->use_keys(files.psk_file, {}, true);
  } else {
    used = made->use_certificates(files.certificates, "server", true);
    if (used && files.verify_peer) used = made->trust(files.certificates, true);
    if (files.verify_peer) {
      openssl().SSL_CTX_set_verify(made->context_,
                                   SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }
  }
  if (!used) return std::unexpected(used.error());
  return made;
}

bool Credentials::accepts(const ssl_st* ssl) const {
  return keys_ == nullptr || openssl().SSL_get0_peer_certificate(ssl) == nullptr;
}

ssl_st* Credentials::start(int socket) const {
  SSL* const ssl = openssl().SSL_new(context_);
  if (ssl == nullptr) return nullptr;
  bool is_well = openssl().SSL_set_fd(ssl, socket) == 1;
  if (is_server_) {
    openssl().SSL_set_accept_state(ssl);
  } else {
    openssl().SSL_set_connect_state(ssl);
    if (!peer_name_.empty() && is_address(peer_name_)) {
      is_well = is_well && openssl().X509_VERIFY_PARAM_set1_ip_asc(openssl().SSL_get0_param(ssl),
                                                                   peer_name_.c_str()) == 1;
    } else if (!peer_name_.empty()) {
      is_well = is_well && openssl().SSL_set1_host(ssl, peer_name_.c_str()) == 1 &&
                openssl().SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                                   const_cast<char*>(peer_name_.c_str())) == 1;
    }
  }
  if (is_well) return ssl;
  openssl().SSL_free(ssl);
  return nullptr;
}

}  // namespace sluice::tls
