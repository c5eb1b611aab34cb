// ServerHandshake: the option haggling of one connection, on the server's side.
//
// A state machine without I/O: the connection feeds it the bytes that have come, and sends those
// that it has written. Nothing of an export is looked at before the client has met the TLS policy.
// Single-threaded; allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/handshake.hpp"
#include "nbd/protocol.hpp"
#include "nbd/wire.hpp"

namespace sluice::nbd {

// An export as it is offered to clients.
struct Export {
  std::string name;
  std::string description;
  uint64_t size = 0;   // in bytes
  uint16_t flags = 0;  // TransmissionFlag, without those that depend on the headers
  BlockSizes block_sizes;
  std::vector<std::string> contexts;  // that block status knows
};

class Exports {
 public:
  virtual ~Exports() = default;
  // In the order in which clients see them; the first is also the default export.
  virtual std::vector<std::string> names() const = 0;
  // By its name; null: there is none. Valid until the handshake ends.
  virtual const Export* find(std::string_view name) const = 0;
};

enum class TlsPolicy : uint8_t { none, offered, required };

// Where a handshake without TLS is, between two messages.
struct HandshakeProgress {
  bool has_client_flags = false;
  bool fixed_newstyle = false;
  bool no_zeroes = false;
  Headers headers = Headers::simple;
  std::vector<MetaContext> contexts{};
  std::string contexts_of{};  // the export that they were chosen for
};

class ServerHandshake {
 public:
  // The longest option with its header: what a connection must be able to hold.
  static constexpr size_t kMessageBytesMax = (size_t{64} << 10) + kOptionRequestBytes;

  enum class State : uint8_t {
    client_flags,  // waits for them
    options,
    starting_tls,  // after this output the client begins TLS: see tls_started()
    transmission,  // after this output the client sends requests: see agreed()
    ended,         // after this output the connection is closed: see why()
  };

  struct Agreement {
    const Export* chosen = nullptr;
    Headers headers = Headers::simple;
    std::vector<MetaContext> contexts;  // that block status replies with
  };

  ServerHandshake(const Exports& exports, TlsPolicy policy) : exports_(exports), policy_(policy) {}

  // The first bytes that the client gets.
  static void greet(std::vector<std::byte>& output);
  // For another server, while it waits for a message and TLS has not begun.
  HandshakeProgress progress() const;
  // Begins where another server was.
  void go_on(HandshakeProgress progress);
  bool goes_on() const { return goes_on_; }

  // Handles as many whole messages as `input` has, and writes the replies. Returns the bytes that
  // it has used; the connection feeds it the others again, followed by more. In `transmission` they
  // are requests.
  size_t feed(Bytes input, std::vector<std::byte>& output);

  State state() const { return state_; }
  const Agreement& agreed() const { return agreement_; }
  // Why the connection ends; empty: the client wants that.
  const std::string& why() const { return why_; }

  // TLS is up, and nothing that was agreed on before is valid.
  void tls_started();

 private:
  size_t take_client_flags(Bytes input);
  size_t take_option(Bytes input, std::vector<std::byte>& output);
  void handle(Option option, Bytes data, Writer& writer);
  bool check_tls(Option option, Writer& writer);
  void choose_by_name(Bytes data, Writer& writer);
  void list(Bytes data, Writer& writer);
  void start_tls(Bytes data, Writer& writer);
  void describe(Option option, Bytes data, Writer& writer);
  void agree_on_headers(Option option, Bytes data, Writer& writer);
  void query_contexts(Option option, Bytes data, Writer& writer);
  const Export* find(std::string_view name) const;
  uint16_t flags_of(const Export& chosen) const;
  void enter_transmission(const Export& chosen);
  void end(std::string why);

  const Exports& exports_;
  const TlsPolicy policy_;
  bool goes_on_ = false;
  State state_ = State::client_flags;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  bool tls_ = false;
  Agreement agreement_;
  std::string contexts_of_;  // the export that the contexts were chosen for
  std::string why_;
};

}  // namespace sluice::nbd
