// ClientHandshake: the handshake of one connection, on the client's side, from the greeting of the
// server to the first request.
//
// A state machine without I/O: the connection feeds it the bytes that have come, and sends those
// that it has written. It speaks to old servers as well: fixed newstyle with INFO and GO, then
// EXPORT_NAME, then oldstyle. Single-threaded; allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nbd/handshake.hpp"
#include "nbd/protocol.hpp"
#include "nbd/wire.hpp"

namespace sluice::nbd {

class ClientHandshake {
 public:
  enum class Tls : uint8_t { none, if_offered, required };
  struct Wish {
    std::string export_name{};  // empty: the server's default
    Headers headers = Headers::extended;
    bool block_status = true;  // base:allocation, if the server has it
    Tls tls = Tls::none;
  };

  enum class State : uint8_t {
    talking,
    starting_tls,  // the server is ready for TLS: see tls_started()
    transmission,  // requests can be sent: see agreed()
    failed,        // see why()
  };

  struct Agreement {
    uint64_t size = 0;   // in bytes, less than 2^63
    uint16_t flags = 0;  // TransmissionFlag
    BlockSizes block_sizes;
    bool block_sizes_known = false;  // otherwise they are the defaults of the specification
    Headers headers = Headers::simple;
    std::optional<uint32_t> allocation_context{};  // the number of base:allocation
  };

  explicit ClientHandshake(Wish wish) : wish_(std::move(wish)) {}

  // Handles as many whole messages as `input` has, and writes the answers. Returns the bytes that
  // it has used; the connection feeds it the others again, followed by more.
  size_t feed(Bytes input, std::vector<std::byte>& output);
  void tls_started(std::vector<std::byte>& output);

  State state() const { return state_; }
  const Agreement& agreed() const { return agreement_; }
  // One sentence, which goes on after "cannot use SERVER: "; for users.
  const std::string& why() const { return why_; }

 private:
  // The message that it waits for.
  enum class Step : uint8_t {
    greeting,
    starttls,
    extended_headers,
    structured_reply,
    contexts,
    go,
    list,  // after an unknown export, for the message
    facts,
  };

  size_t take_greeting(Bytes input, Writer& writer);
  size_t take_facts(Bytes input);
  size_t take_reply(Bytes input, Writer& writer);
  void handle(OptionReplyType type, Bytes data, Writer& writer);
  void handle_starttls(OptionReplyType type, Writer& writer);
  void handle_contexts(OptionReplyType type, Bytes data, Writer& writer);
  void handle_go(OptionReplyType type, Bytes data, Writer& writer);
  void note_info(Bytes data);
  void handle_list(OptionReplyType type, Bytes data);
  void ask(Step step, Option option, Bytes data, Writer& writer);
  void ask_for_headers(Writer& writer);
  void ask_for_contexts(Writer& writer);
  void ask_to_go(Writer& writer);
  void ask_by_name(Writer& writer);
  void enter_transmission();
  std::string fault_of_sizes() const;
  std::string name_of_export() const;
  void fail(std::string why);

  const Wish wish_;
  State state_ = State::talking;
  Step step_ = Step::greeting;
  Option asked_ = Option::abort;
  bool no_zeroes_ = false;
  bool facts_known_ = false;
  std::optional<uint32_t> context_offered_;  // counts once the server has acknowledged it
  std::vector<std::string> exports_;         // of the list
  Agreement agreement_;
  std::string why_;
};

}  // namespace sluice::nbd
