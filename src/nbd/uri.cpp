#include "nbd/uri.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "spec/shown.hpp"

namespace sluice::nbd {
namespace {

struct Scheme {
  std::string_view name;
  Transport transport;
  bool tls;
};

constexpr Scheme kSchemes[] = {
    {"nbd", Transport::tcp, false},
    {"nbds", Transport::tcp, true},
    {"nbd+unix", Transport::unix_socket, false},
    {"nbds+unix", Transport::unix_socket, true},
    {"nbd+vsock", Transport::vsock, false},
    {"nbds+vsock", Transport::vsock, true},
};
constexpr std::string_view kAfterScheme = "://";

constexpr std::pair<std::string_view, TlsKind> kTlsKinds[] = {
    {"x509", TlsKind::x509}, {"psk", TlsKind::psk}, {"anon", TlsKind::anonymous}};

// sockaddr_un::sun_path, less its NUL.
constexpr size_t kSocketPathMax = 107;

const Scheme* find_scheme(std::string_view text) {
  const size_t end = text.find(kAfterScheme);
  if (end == std::string_view::npos) return nullptr;
  const auto found = std::ranges::find(kSchemes, text.substr(0, end), &Scheme::name);
  return found == std::end(kSchemes) ? nullptr : found;
}

bool is_unreserved(char sign) {
  return (sign >= 'a' && sign <= 'z') || (sign >= 'A' && sign <= 'Z') ||
         (sign >= '0' && sign <= '9') || std::string_view("-._~").contains(sign);
}

std::string encode(std::string_view text, std::string_view kept) {
  std::string encoded;
  for (const char sign : text) {
    if (is_unreserved(sign) || kept.contains(sign)) {
      encoded += sign;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(sign));
    }
  }
  return encoded;
}

// Nullopt: a % without two digits.
std::optional<std::string> decode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    unsigned value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || parsed.ptr != digits.data() + 2) return std::nullopt;
    decoded += static_cast<char>(value);
    i += 2;
  }
  return decoded;
}

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

// Reads one URI. Made for one call of parse_uri().
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Uri> parse();

 private:
  Result<void> parse_authority(std::string_view authority);
  Result<void> parse_port(std::string_view port);
  Result<void> parse_parameter(std::string_view name, std::string value);
  Result<void> check() const;
  std::unexpected<Error> refuse(std::string_view why) const {
    return sluice::fail(EINVAL, fmt::format("the NBD URI {} {}", shown(text_), why));
  }

  const std::string_view text_;
  Uri uri_;
  bool has_tls_parameter_ = false;
};

Result<Uri> Parser::parse() {
  const Scheme* const scheme = find_scheme(text_);
  if (scheme == nullptr) {
    return refuse(
        "has no scheme of NBD: nbd://, nbds://, nbd+unix://, nbds+unix://, nbd+vsock:// "
        "or nbds+vsock://");
  }
  uri_.transport = scheme->transport;
  uri_.tls = scheme->tls;
  std::string_view rest = text_.substr(scheme->name.size() + kAfterScheme.size());
  if (rest.contains('#')) return refuse("has a #: write it as %23");
  std::string_view query;
  if (const size_t mark = rest.find('?'); mark != std::string_view::npos) {
    query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  if (auto parsed = parse_authority(rest.substr(0, slash)); !parsed) {
    return std::unexpected(parsed.error());
  }
  if (slash < rest.size()) {
    auto name = decode(rest.substr(slash + 1));
    if (!name) return refuse("has a % without two hexadecimal digits: write % as %25");
    if (name->contains('\0')) return refuse("has an export name with a NUL");
    if (name->size() > kStringBytesMax) {
      return refuse(fmt::format("has an export name of {} bytes, {} are the limit", name->size(),
                                kStringBytesMax));
    }
    uri_.export_name = std::move(*name);
  }
  while (!query.empty()) {
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(parameter.size() + 1, query.size()));
    const size_t sign = std::min(parameter.find('='), parameter.size());
    auto value = decode(parameter.substr(std::min(sign + 1, parameter.size())));
    if (!value) return refuse("has a % without two hexadecimal digits: write % as %25");
    auto parsed = parse_parameter(parameter.substr(0, sign), std::move(*value));
    if (!parsed) return std::unexpected(parsed.error());
  }
  if (auto checked = check(); !checked) return std::unexpected(checked.error());
  if (uri_.transport == Transport::vsock && !uri_.host.empty()) {
    uri_.cid = *number_of<uint32_t>(std::exchange(uri_.host, {}));
  }
  return uri_;
}

// [user@]host[:port]
Result<void> Parser::parse_authority(std::string_view authority) {
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) {
    auto user = decode(authority.substr(0, at));
    if (!user) return refuse("has a % without two hexadecimal digits: write % as %25");
    if (user->contains(':')) {  // which is not repeated in the message
      return sluice::fail(EINVAL, "an NBD URI has a password, which it must not: use tls-psk-file");
    }
    uri_.user = std::move(*user);
    authority.remove_prefix(at + 1);
  }
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return refuse("has a [ without a ]");
    uri_.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
    if (!authority.empty() && !authority.starts_with(':')) {
      return refuse("has something other than a port behind its address");
    }
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    auto host = decode(authority.substr(0, colon));
    if (!host) return refuse("has a % without two hexadecimal digits: write % as %25");
    uri_.host = std::move(*host);
    authority.remove_prefix(colon);
  }
  if (authority.contains(':') && authority.find(':', 1) != std::string_view::npos) {
    return refuse("has several colons in its host: write an IPv6 address in brackets");
  }
  return authority.size() <= 1 ? Result<void>() : parse_port(authority.substr(1));
}

Result<void> Parser::parse_port(std::string_view port) {
  const uint32_t most = uri_.transport == Transport::vsock ? UINT32_MAX : UINT16_MAX;
  const auto number = number_of<uint32_t>(port);
  if (!number || *number == 0 || *number > most) {
    return refuse(
        fmt::format("has the port {}: a number from 1 to {} is needed", shown(port), most));
  }
  uri_.port = *number;
  return {};
}

Result<void> Parser::parse_parameter(std::string_view name, std::string value) {
  if (name == "socket") {
    uri_.socket = std::move(value);
    return {};
  }
  if (!name.starts_with("tls-"))
    return refuse(fmt::format("has the unknown parameter {}", shown(name)));
  has_tls_parameter_ = true;
  if (name == "tls-type") {
    const auto kind =
        std::ranges::find(kTlsKinds, value, &std::pair<std::string_view, TlsKind>::first);
    if (kind == std::end(kTlsKinds)) {
      return refuse(fmt::format("has tls-type={}: x509, psk or anon is needed", shown(value)));
    }
    uri_.tls_kind = kind->second;
  } else if (name == "tls-hostname") {
    uri_.tls_hostname = std::move(value);
  } else if (name == "tls-verify-peer") {
    if (value != "0" && value != "1") {
      return refuse(fmt::format("has tls-verify-peer={}: 0 or 1 is needed", shown(value)));
    }
    uri_.tls_verify_peer = value == "1";
  } else if (name == "tls-certificates") {
    uri_.tls_certificates = std::move(value);
  } else if (name == "tls-psk-file") {
    uri_.tls_psk_file = std::move(value);
  } else {
    return refuse(fmt::format("has the unknown parameter {}", shown(name)));
  }
  return {};
}

Result<void> Parser::check() const {
  const bool is_unix = uri_.transport == Transport::unix_socket;
  if (is_unix && uri_.socket.empty()) return refuse("names no socket: add ?socket=PATH");
  if (is_unix && uri_.socket.size() > kSocketPathMax) {
    return refuse(fmt::format("has a socket path of {} bytes, {} are the limit", uri_.socket.size(),
                              kSocketPathMax));
  }
  for (const std::string* const text :
       {&uri_.host, &uri_.user, &uri_.tls_hostname, &uri_.tls_certificates, &uri_.tls_psk_file}) {
    if (text->contains('\0')) return refuse("has a NUL in a name or a path");
  }
  if (is_unix && uri_.socket.find('\0', 1) != std::string::npos) {
    return refuse("has a socket path with a NUL");
  }
  if (is_unix && !uri_.host.empty()) {
    return refuse(fmt::format("has the host {} beside a socket: write /// before the export name",
                              shown(uri_.host)));
  }
  if (!is_unix && !uri_.socket.empty()) return refuse("has a socket: that needs nbd+unix://");
  if (uri_.transport == Transport::tcp && uri_.host.empty()) return refuse("names no host");
  if (!uri_.tls && has_tls_parameter_) {
    return refuse("has parameters of TLS: that needs nbds://, nbds+unix:// or nbds+vsock://");
  }
  if (uri_.transport == Transport::vsock && !uri_.host.empty() && !number_of<uint32_t>(uri_.host)) {
    return refuse(
        fmt::format("has the host {}: vsock needs a context ID, such as 2", shown(uri_.host)));
  }
  return {};
}

}  // namespace

bool is_uri(std::string_view text) { return find_scheme(text) != nullptr; }

Result<Uri> parse_uri(std::string_view text) { return Parser(text).parse(); }

std::string to_text(const Uri& uri) {
  const auto scheme = std::ranges::find_if(kSchemes, [&](const Scheme& each) {
    return each.transport == uri.transport && each.tls == uri.tls;
  });
  std::string text = fmt::format("{}{}", scheme->name, kAfterScheme);
  if (!uri.user.empty()) text += encode(uri.user, "") + '@';
  switch (uri.transport) {
    case Transport::tcp:
      text += uri.host.contains(':') ? fmt::format("[{}]", uri.host) : encode(uri.host, "");
      break;
    case Transport::vsock:
      text += std::to_string(uri.cid);
      break;
    case Transport::unix_socket:
      break;
  }
  const bool is_unix = uri.transport == Transport::unix_socket;
  if (!is_unix && uri.port != kDefaultPort) text += fmt::format(":{}", uri.port);
  text += '/' + encode(uri.export_name, "/:@");
  char sign = '?';
  const auto add = [&](std::string_view name, std::string_view value) {
    text += fmt::format("{}{}={}", std::exchange(sign, '&'), name, encode(value, "/:@"));
  };
  if (is_unix) add("socket", uri.socket);
  if (uri.tls_kind) {
    add("tls-type",
        std::ranges::find(kTlsKinds, *uri.tls_kind, &std::pair<std::string_view, TlsKind>::second)
            ->first);
  }
  if (!uri.tls_hostname.empty()) add("tls-hostname", uri.tls_hostname);
  if (!uri.tls_verify_peer) add("tls-verify-peer", "0");
  if (!uri.tls_certificates.empty()) add("tls-certificates", uri.tls_certificates);
  if (!uri.tls_psk_file.empty()) add("tls-psk-file", uri.tls_psk_file);
  return text;
}

}  // namespace sluice::nbd
