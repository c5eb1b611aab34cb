#include "nbd/reply.hpp"

#include <fmt/format.h>

namespace sluice::nbd {
namespace {

constexpr size_t kDataHeadBytes = 8;
constexpr size_t kHoleBytes = 12;
constexpr size_t kErrorHeadBytes = 6;
constexpr size_t kErrorOffsetBytes = 8;  // after the text
constexpr size_t kStatusHeadBytes = 4;
constexpr size_t kExtendedStatusHeadBytes = 8;

std::string length_of(const ReplyHeader& reply, std::string_view what) {
  return fmt::format("a chunk of type {} has {} bytes, {}", static_cast<uint16_t>(reply.type),
                     reply.length, what);
}

// Why a server may not send a payload of this length; empty: it may.
std::string length_fault(const ReplyHeader& reply, uint64_t payload_max) {
  const uint64_t length = reply.length;
  switch (reply.type) {
    case ChunkType::none:
      if (length != 0) return length_of(reply, "not 0");
      if (!reply.is_last()) return "a chunk without payload is not the last one";
      return {};
    case ChunkType::offset_data:
      if (length <= kDataHeadBytes) return length_of(reply, "at least 9 are needed");
      if (length - kDataHeadBytes > payload_max) {
        return length_of(reply, fmt::format("and {} of data are the limit", payload_max));
      }
      return {};
    case ChunkType::offset_hole:
      return length == kHoleBytes ? "" : length_of(reply, "not 12");
    case ChunkType::block_status:
    case ChunkType::block_status_extended: {
      const bool is_extended = reply.type == ChunkType::block_status_extended;
      const size_t head = is_extended ? kExtendedStatusHeadBytes : kStatusHeadBytes;
      const size_t each = is_extended ? 16 : 8;
      if (length <= head || (length - head) % each != 0) {
        return length_of(reply, "not a head and whole extents");
      }
      if ((length - head) / each > kExtentsMax)
        return length_of(reply, "and 2^20 extents are the limit");
      return {};
    }
    default:
      break;
  }
  if (!is_error(reply.type)) {
    return fmt::format("a chunk has the unknown type {}", static_cast<uint16_t>(reply.type));
  }
  const size_t least =
      kErrorHeadBytes + (reply.type == ChunkType::error_offset ? kErrorOffsetBytes : 0);
  if (length < least) return length_of(reply, fmt::format("at least {} are needed", least));
  // A message, and fields of types to come.
  if (length > 2 * kStringBytesMax) return length_of(reply, "too many for an error");
  return {};
}

}  // namespace

size_t write_reply(const ReplyHeader& reply, Headers headers, std::span<std::byte> memory) {
  HeaderWriter writer(memory);
  if (reply.is_simple) {
    return writer.put(kSimpleReplyMagic).put(reply.error).put(reply.cookie).written();
  }
  const bool extended = headers == Headers::extended;
  writer.put(extended ? kExtendedReplyMagic : kStructuredReplyMagic)
      .put(reply.flags)
      .put(static_cast<uint16_t>(reply.type))
      .put(reply.cookie);
  if (extended) return writer.put(reply.offset).put(reply.length).written();
  return writer.put(static_cast<uint32_t>(reply.length)).written();
}

Parsed<ReplyHeader> read_reply(Bytes buffer, Headers headers, uint64_t payload_max) {
  using Outcome = Parsed<ReplyHeader>;
  Reader reader(buffer);
  if (buffer.size() < sizeof(uint32_t)) {
    return Outcome::incomplete(reply_bytes(headers != Headers::extended, headers));
  }
  const auto magic = reader.number<uint32_t>();
  ReplyHeader reply;
  reply.is_simple = magic == kSimpleReplyMagic && headers != Headers::extended;
  const bool is_chunk = (magic == kStructuredReplyMagic && headers == Headers::structured) ||
                        (magic == kExtendedReplyMagic && headers == Headers::extended);
  if (!reply.is_simple && !is_chunk) {
    return Outcome::invalid(
        fmt::format("a reply begins with {:#x}, which has not been agreed on", magic));
  }
  const size_t bytes = reply_bytes(reply.is_simple, headers);
  if (buffer.size() < bytes) return Outcome::incomplete(bytes);
  if (reply.is_simple) {
    reply.error = reader.number<uint32_t>();
    reply.cookie = reader.number<uint64_t>();
    return Outcome::whole(reply, bytes);
  }
  reply.flags = reader.number<uint16_t>();
  reply.type = static_cast<ChunkType>(reader.number<uint16_t>());
  reply.cookie = reader.number<uint64_t>();
  if (headers == Headers::extended) {
    reply.offset = reader.number<uint64_t>();
    reply.length = reader.number<uint64_t>();
  } else {
    reply.length = reader.number<uint32_t>();
  }
  const bool extended_status = reply.type == ChunkType::block_status_extended;
  if ((extended_status && headers != Headers::extended) ||
      (reply.type == ChunkType::block_status && headers == Headers::extended)) {
    return Outcome::invalid("block status comes in the form of other headers");
  }
  if (std::string fault = length_fault(reply, payload_max); !fault.empty()) {
    return Outcome::invalid(std::move(fault));
  }
  return Outcome::whole(reply, bytes);
}

size_t chunk_head_bytes(ChunkType type) {
  switch (type) {
    case ChunkType::none:
      return 0;
    case ChunkType::offset_data:
      return kDataHeadBytes;
    case ChunkType::offset_hole:
      return kHoleBytes;
    case ChunkType::block_status:
      return kStatusHeadBytes;
    case ChunkType::block_status_extended:
      return kExtendedStatusHeadBytes;
    default:
      return is_error(type) ? kErrorHeadBytes : 0;
  }
}

Parsed<ChunkHead> read_chunk_head(Bytes head, const ReplyHeader& reply) {
  using Outcome = Parsed<ChunkHead>;
  const size_t bytes = chunk_head_bytes(reply.type);
  if (head.size() < bytes) return Outcome::incomplete(bytes);
  Reader reader(head);
  ChunkHead found;
  switch (reply.type) {
    case ChunkType::none:
      break;
    case ChunkType::offset_data:
      found.offset = reader.number<uint64_t>();
      found.length = chunk_rest_bytes(reply);
      break;
    case ChunkType::offset_hole:
      found.offset = reader.number<uint64_t>();
      found.length = reader.number<uint32_t>();
      if (found.length == 0) return Outcome::invalid("a hole has no length");
      break;
    case ChunkType::block_status:
      found.context = reader.number<uint32_t>();
      found.extents = static_cast<uint32_t>(chunk_rest_bytes(reply) / 8);
      break;
    case ChunkType::block_status_extended:
      found.context = reader.number<uint32_t>();
      found.extents = reader.number<uint32_t>();
      if (found.extents != chunk_rest_bytes(reply) / 16) {
        return Outcome::invalid(fmt::format("block status announces {} extents, and has {}",
                                            found.extents, chunk_rest_bytes(reply) / 16));
      }
      break;
    default: {
      found.error = reader.number<uint32_t>();
      found.text_bytes = reader.number<uint16_t>();
      const uint64_t after =
          reply.type == ChunkType::error_offset ? uint64_t{kErrorOffsetBytes} : 0;
      if (found.text_bytes > kStringBytesMax ||
          found.text_bytes + after > chunk_rest_bytes(reply)) {
        return Outcome::invalid(
            fmt::format("the message of an error has {} bytes, in a chunk of {}", found.text_bytes,
                        reply.length));
      }
      if (found.error == 0) return Outcome::invalid("an error has the number 0");
    }
  }
  return Outcome::whole(found, bytes);
}

uint64_t chunk_rest_bytes(const ReplyHeader& reply) {
  return reply.length - chunk_head_bytes(reply.type);
}

size_t write_chunk_head(ChunkType type, const ChunkHead& head, std::span<std::byte> memory) {
  HeaderWriter writer(memory);
  switch (type) {
    case ChunkType::none:
      return 0;
    case ChunkType::offset_data:
      return writer.put(head.offset).written();
    case ChunkType::offset_hole:
      return writer.put(head.offset).put(static_cast<uint32_t>(head.length)).written();
    case ChunkType::block_status:
      return writer.put(head.context).written();
    case ChunkType::block_status_extended:
      return writer.put(head.context).put(head.extents).written();
    default:
      return writer.put(head.error).put(head.text_bytes).written();
  }
}

StatusExtent read_status_extent(Bytes bytes, Headers headers) {
  Reader reader(bytes);
  if (headers == Headers::extended) {
    const auto length = reader.number<uint64_t>();
    return {.length = length, .flags = reader.number<uint64_t>()};
  }
  const auto length = reader.number<uint32_t>();
  return {.length = length, .flags = reader.number<uint32_t>()};
}

size_t write_status_extent(const StatusExtent& extent, Headers headers,
                           std::span<std::byte> memory) {
  HeaderWriter writer(memory);
  if (headers == Headers::extended) return writer.put(extent.length).put(extent.flags).written();
  return writer.put(static_cast<uint32_t>(extent.length))
      .put(static_cast<uint32_t>(extent.flags))
      .written();
}

}  // namespace sluice::nbd
