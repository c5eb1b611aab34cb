// A whole chunk of block status, for one context. A pure function, safe on any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "nbd/reply.hpp"

namespace sluice::nbd {

struct StatusChunk {
  uint64_t cookie = 0;
  uint64_t offset = 0;  // of the request
  uint32_t context = 0;
  bool is_last = false;  // of the reply
};

// The length of a chunk with so many extents, at most.
constexpr size_t status_chunk_bytes(size_t extents, Headers headers) {
  return kReplyBytesMax + 8 + extents * status_extent_bytes(headers);
}

// Headers are structured or extended. Returns the length.
inline size_t write_status(const StatusChunk& chunk, std::span<const StatusExtent> extents,
                           Headers headers, std::span<std::byte> memory) {
  const bool extended = headers == Headers::extended;
  const ChunkType type = extended ? ChunkType::block_status_extended : ChunkType::block_status;
  const ReplyHeader reply{
      .cookie = chunk.cookie,
      .flags = chunk.is_last ? static_cast<uint16_t>(kReplyDone) : uint16_t{0},
      .type = type,
      .offset = chunk.offset,
      .length = chunk_head_bytes(type) + extents.size() * status_extent_bytes(headers)};
  size_t written = write_reply(reply, headers, memory);
  const ChunkHead head{.context = chunk.context, .extents = static_cast<uint32_t>(extents.size())};
  written += write_chunk_head(type, head, memory.subspan(written));
  for (const StatusExtent& each : extents) {
    written += write_status_extent(each, headers, memory.subspan(written));
  }
  return written;
}

}  // namespace sluice::nbd
