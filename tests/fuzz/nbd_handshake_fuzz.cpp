// Gives any bytes to both ends of the NBD handshake, in two ways of cutting them: neither the state
// nor the output depends on the cut, and a failure has a reason that can be printed.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "nbd/client_handshake.hpp"
#include "nbd/server_handshake.hpp"
#include "spec/shown.hpp"

namespace {

using sluice::nbd::Bytes;
using sluice::nbd::ClientHandshake;
using sluice::nbd::ServerHandshake;

void require(bool holds, const char* what, const std::string& detail = {}) {
  if (holds) return;
  std::fprintf(stderr, "nbd_handshake_fuzz: %s: %s\n", what, detail.c_str());
  std::abort();
}

class TwoExports final : public sluice::nbd::Exports {
 public:
  std::vector<std::string> names() const override { return {first.name, second.name}; }
  const sluice::nbd::Export* find(std::string_view name) const override {
    if (name == first.name) return &first;
    return name == second.name ? &second : nullptr;
  }

  const sluice::nbd::Export first{.name = "disk",
                                  .description = "of a guest",
                                  .size = 1000,
                                  .flags = 0,
                                  .block_sizes = {},
                                  .contexts = {"base:allocation", "qemu:dirty-bitmap:a"}};
  const sluice::nbd::Export second{
      .name = "b", .description = {}, .size = 1, .flags = 0, .block_sizes = {}, .contexts = {}};
};

// What has come of the bytes.
struct Outcome {
  int state = 0;
  size_t used = 0;
  std::vector<std::byte> output;
  std::string why;

  bool operator==(const Outcome&) const = default;
};

template <typename Handshake>
Outcome feed(Handshake& handshake, Bytes input, size_t piece) {
  Outcome outcome;
  std::vector<std::byte> waiting;
  for (size_t begin = 0; begin < input.size(); begin += piece) {
    const Bytes part = input.subspan(begin, std::min(piece, input.size() - begin));
    waiting.insert(waiting.end(), part.begin(), part.end());
    const size_t used = handshake.feed(waiting, outcome.output);
    require(used <= waiting.size(), "more was used than there is");
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<ptrdiff_t>(used));
    outcome.used += used;
  }
  outcome.state = static_cast<int>(handshake.state());
  outcome.why = handshake.why();
  require(sluice::is_utf8(outcome.why) && outcome.why.find_first_of("\n\x1b") == std::string::npos,
          "a reason is not printable", outcome.why);
  return outcome;
}

// STARTTLS is the exception: whether more comes with it decides.
void check_server(Bytes input, sluice::nbd::TlsPolicy policy) {
  const TwoExports exports;
  ServerHandshake whole(exports, policy);
  const Outcome at_once = feed(whole, input, SIZE_MAX / 2);
  ServerHandshake cut(exports, policy);
  const Outcome in_bytes = feed(cut, input, 1);
  const bool tls = cut.state() == ServerHandshake::State::starting_tls ||
                   at_once.why.find("TLS has begun") != std::string::npos;
  require(tls || at_once == in_bytes, "the server depends on the cut", at_once.why);
  if (whole.state() == ServerHandshake::State::transmission) {
    require(whole.agreed().chosen != nullptr, "no export is chosen");
  }
}

void check_client(Bytes input, const ClientHandshake::Wish& wish) {
  ClientHandshake whole(wish);
  const Outcome at_once = feed(whole, input, SIZE_MAX / 2);
  ClientHandshake cut(wish);
  const Outcome in_bytes = feed(cut, input, 1);
  const bool tls = cut.state() == ClientHandshake::State::starting_tls ||
                   at_once.why.find("TLS has begun") != std::string::npos;
  require(tls || at_once == in_bytes, "the client depends on the cut", at_once.why);
  if (whole.state() == ClientHandshake::State::transmission) {
    require(whole.agreed().size <= INT64_MAX, "the size is too large");
    require(wish.tls != ClientHandshake::Tls::required, "there is no TLS");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  using sluice::nbd::Headers;
  using sluice::nbd::TlsPolicy;
  for (const auto policy : {TlsPolicy::none, TlsPolicy::offered, TlsPolicy::required}) {
    check_server(input, policy);
  }
  check_client(input, {.export_name = "disk"});
  check_client(input, {.headers = Headers::simple, .block_status = false});
  check_client(input, {.tls = ClientHandshake::Tls::if_offered});
  check_client(input, {.tls = ClientHandshake::Tls::required});
  return 0;
}
