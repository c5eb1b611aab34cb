// The replies of a server in the transmission phase: simple ones, and chunks of structured and
// extended ones.
//
// A reader of replies reads a header, then the head of the chunk's payload (chunk_head_bytes()),
// then what follows it: data, the text of an error, or extents. Pure functions, safe on any thread;
// those for headers do not allocate unless the peer breaks the protocol.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "nbd/protocol.hpp"
#include "nbd/wire.hpp"

namespace sluice::nbd {

inline constexpr size_t kSimpleReplyBytes = 16;
inline constexpr size_t kStructuredReplyBytes = 20;
inline constexpr size_t kExtendedReplyBytes = 32;
// Of block status, in one chunk.
inline constexpr size_t kExtentsMax = size_t{1} << 20;

struct ReplyHeader {
  bool is_simple = false;
  uint64_t cookie = 0;
  uint32_t error = 0;  // simple only; on the wire

  // Chunks only:
  uint16_t flags = 0;
  ChunkType type = ChunkType::none;
  uint64_t offset = 0;  // extended only: of the request
  uint64_t length = 0;  // of the payload

  bool is_last() const { return is_simple || (flags & kReplyDone) != 0; }
};

// The longest header of a reply.
inline constexpr size_t kReplyBytesMax = kExtendedReplyBytes;

constexpr size_t reply_bytes(bool is_simple, Headers headers) {
  if (is_simple) return kSimpleReplyBytes;
  return headers == Headers::extended ? kExtendedReplyBytes : kStructuredReplyBytes;
}

// Writes the header; returns its length.
size_t write_reply(const ReplyHeader& reply, Headers headers, std::span<std::byte> memory);

// Reads one header. Invalid: a magic number that has not been agreed on, a chunk whose length its
// type does not allow, or which is longer than `payload_max` bytes of data allow.
Parsed<ReplyHeader> read_reply(Bytes buffer, Headers headers, uint64_t payload_max);

// The beginning of a chunk's payload, which says where the rest belongs.
struct ChunkHead {
  uint64_t offset = 0;      // offset_data, offset_hole
  uint64_t length = 0;      // of the data or hole
  uint32_t context = 0;     // block status
  uint32_t extents = 0;     // block status: how many follow
  uint32_t error = 0;       // errors; on the wire
  uint16_t text_bytes = 0;  // errors: of the message that follows
};

// 0: the chunk has no payload, or one whose parts are not known.
size_t chunk_head_bytes(ChunkType type);
// Reads it from exactly these bytes. Invalid: contradicts the header.
Parsed<ChunkHead> read_chunk_head(Bytes head, const ReplyHeader& reply);
// The bytes of the payload after the head.
uint64_t chunk_rest_bytes(const ReplyHeader& reply);

// Writes the head of a chunk; returns its length.
size_t write_chunk_head(ChunkType type, const ChunkHead& head, std::span<std::byte> memory);

// One range of block status.
struct StatusExtent {
  uint64_t length = 0;
  uint64_t flags = 0;
};

constexpr size_t status_extent_bytes(Headers headers) {
  return headers == Headers::extended ? 16 : 8;
}
StatusExtent read_status_extent(Bytes bytes, Headers headers);
size_t write_status_extent(const StatusExtent& extent, Headers headers,
                           std::span<std::byte> memory);

}  // namespace sluice::nbd
