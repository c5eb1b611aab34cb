// Outgoing: calls that leave with one message: their headers, and their payloads as far as these
// have an address or are copied to memory here.
//
// Part of a Connection, used by its ring's thread only. Nothing is allocated after its creation.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "target/nbd/call.hpp"

namespace sluice::nbd::client {

class Outgoing {
 public:
  static constexpr size_t kCallsMax = 32;

  Outgoing();

  void clear();
  // For one more call, with a payload that is copied.
  bool has_room() const;
  void add(Call& call, std::span<std::byte> header);
  // The payload of the call that was added last. False: its pages have no address, or too many
  // pieces.
  bool add_payload(const Call& call);
  // Whether its bytes can be copied out of its pages, and a copy costs less than an operation.
  static bool may_copy(const Call& call);
  // Memory for that.
  std::span<std::byte> add_copy(size_t bytes);

  std::span<Call* const> calls() const { return std::span(calls_).first(count_); }
  std::span<iovec> pieces() { return std::span(pieces_).first(pieces_used_); }

 private:
  static constexpr size_t kPiecesMax = 128;
  static constexpr size_t kCopiedBytes = 16 << 10;   // of one call
  static constexpr size_t kCopiesBytes = 128 << 10;  // of one message
  static constexpr uint64_t kBytesMax = 1 << 20;     // of payload, rounded up to a whole call

  void add_piece(std::span<std::byte> bytes);

  std::array<Call*, kCallsMax> calls_{};
  size_t count_ = 0;
  std::array<iovec, kPiecesMax> pieces_{};
  size_t pieces_used_ = 0;
  uint64_t bytes_ = 0;  // of payload
  const std::unique_ptr<std::byte[]> copies_;
  size_t copied_ = 0;
};

}  // namespace sluice::nbd::client
