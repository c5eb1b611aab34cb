#include "target/nbd/read_piece.hpp"

namespace sluice::nbd::client {

std::optional<ReadPiece> whole_read_piece(Bytes buffer, Headers headers, const CallTable& calls) {
  const auto parsed = read_reply(buffer, headers, kDefaultPayloadMax);
  if (!parsed.is_whole()) return std::nullopt;
  const ReplyHeader& reply = *parsed.message;
  Call* const call = calls.find(reply.cookie);
  if (call == nullptr || call->header.command != Command::read) return std::nullopt;
  buffer = buffer.subspan(parsed.bytes);
  ReadPiece piece{.call = call, .bytes = parsed.bytes, .is_last = reply.is_last()};
  if (reply.is_simple) {
    if (headers != Headers::simple || reply.error != 0) return std::nullopt;
    piece.place = {.offset = call->header.offset, .length = call->header.length};
  } else {
    const size_t head_bytes = chunk_head_bytes(ChunkType::offset_data);
    if (reply.type != ChunkType::offset_data || buffer.size() < head_bytes) return std::nullopt;
    if (headers == Headers::extended && reply.offset != call->header.offset) return std::nullopt;
    const auto head = read_chunk_head(buffer.first(head_bytes), reply);
    if (!head.is_whole()) return std::nullopt;
    piece.place = *head.message;
    piece.bytes += head_bytes;
    buffer = buffer.subspan(head_bytes);
  }
  if (buffer.size() < piece.place.length) return std::nullopt;
  piece.data = buffer.first(piece.place.length);
  piece.bytes += piece.data.size();
  return piece;
}

}  // namespace sluice::nbd::client
