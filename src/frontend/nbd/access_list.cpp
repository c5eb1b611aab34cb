#include "frontend/nbd/access_list.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>

#include "spec/shown.hpp"

namespace sluice::nbd {
namespace {

constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// The form of an IPv4 address among IPv6 ones.
std::array<uint8_t, 16> mapped(const in_addr& address) {
  std::array<uint8_t, 16> bytes{};
  std::ranges::copy(kMapped, bytes.begin());
  std::memcpy(bytes.data() + kMapped.size(), &address, sizeof(address));
  return bytes;
}

bool same_bits(const std::array<uint8_t, 16>& one, const std::array<uint8_t, 16>& other,
               unsigned bits) {
  const size_t whole = bits / 8;
  if (!std::equal(one.begin(), one.begin() + static_cast<ptrdiff_t>(whole), other.begin())) {
    return false;
  }
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff00U >> (bits % 8));
  return ((one[whole] ^ other[whole]) & mask) == 0;
}

}  // namespace

Result<AccessList> AccessList::parse(std::string_view lines) {
  AccessList list;
  list.text_ = lines;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    auto network = parse_network(line);
    if (!network) return std::unexpected(network.error());
    list.networks_.push_back(*network);
  }
  return list;
}

Result<AccessList::Network> AccessList::parse_network(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return fail(EINVAL, fmt::format("--allow {}: {}", shown(text), why));
  };
  const size_t slash = std::min(text.find('/'), text.size());
  const std::string address(text.substr(0, slash));
  Network network;
  unsigned most = 128;
  in_addr four{};
  in6_addr six{};
  if (inet_pton(AF_INET, address.c_str(), &four) == 1) {
    network.address = mapped(four);
    most = 32;
  } else if (inet_pton(AF_INET6, address.c_str(), &six) == 1) {
    std::memcpy(network.address.data(), &six, sizeof(six));
  } else {
    return refuse("give an IP address or a network, such as 10.0.0.0/8");
  }
  unsigned bits = most;
  if (slash < text.size()) {
    const std::string_view digits = text.substr(slash + 1);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || bits > most) {
      return refuse(fmt::format("the number of bits is at most {}", most));
    }
  }
  network.bits = 128 - most + bits;
  for (unsigned bit = network.bits; bit < 128; ++bit) {
    if ((network.address[bit / 8] >> (7 - bit % 8) & 1) != 0) {
      return refuse(fmt::format("the address has bits beyond the first {}", bits));
    }
  }
  return network;
}

bool AccessList::allows(const sockaddr_storage& peer) const {
  Bytes address{};
  if (peer.ss_family == AF_INET) {
    address = mapped(reinterpret_cast<const sockaddr_in&>(peer).sin_addr);
  } else if (peer.ss_family == AF_INET6) {
    std::memcpy(address.data(), &reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr, 16);
  } else {
    return true;
  }
  // A network of IPv6 as a whole, such as ::/0, says nothing of IPv4.
  const bool is_four = std::equal(kMapped.begin(), kMapped.end(), address.begin());
  const unsigned least = is_four ? 8 * kMapped.size() : 0;
  return networks_.empty() || std::ranges::any_of(networks_, [&](const Network& each) {
           return each.bits >= least && same_bits(each.address, address, each.bits);
         });
}

}  // namespace sluice::nbd
