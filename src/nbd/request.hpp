// RequestHeader: what a client asks for in the transmission phase, in compact and extended form.
//
// Pure functions without allocation, safe on any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "nbd/protocol.hpp"
#include "nbd/wire.hpp"

namespace sluice::nbd {

inline constexpr size_t kCompactRequestBytes = 28;
inline constexpr size_t kExtendedRequestBytes = 32;

struct RequestHeader {
  uint16_t flags = 0;  // CommandFlag; unknown bits are kept
  Command command = Command::read;
  uint64_t cookie = 0;
  uint64_t offset = 0;
  uint64_t length = 0;  // of the payload or of the range, see payload_bytes()

  // The bytes that follow the header.
  uint64_t payload_bytes(Headers headers) const {
    const bool has_payload =
        headers == Headers::extended ? (flags & kPayloadLength) != 0 : command == Command::write;
    return has_payload ? length : 0;
  }
};

constexpr size_t request_bytes(Headers headers) {
  return headers == Headers::extended ? kExtendedRequestBytes : kCompactRequestBytes;
}

// Writes the header; returns its length. With compact headers the length must fit into 32 bits.
size_t write_request(const RequestHeader& request, Headers headers, std::span<std::byte> memory);

// Reads one header. Invalid: another magic number, after which nothing can be read any more. The
// command may be one that the specification does not have.
Parsed<RequestHeader> read_request(Bytes buffer, Headers headers);

}  // namespace sluice::nbd
