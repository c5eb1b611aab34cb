#include "support/nbd_client.hpp"

#include <utility>

namespace sluice::test {

std::string NbdClient::shake_hands(nbd::ClientHandshake::Wish wish, const Send& send) {
  nbd::ClientHandshake handshake(std::move(wish));
  Data input;
  while (handshake.state() == nbd::ClientHandshake::State::talking) {
    std::byte bytes[4096];
    const ssize_t got = recv(socket(), bytes, sizeof(bytes), 0);
    if (got <= 0) return "the server has closed the connection";
    input.insert(input.end(), bytes, bytes + got);
    Data output;
    const size_t used = handshake.feed(input, output);
    input.erase(input.begin(), input.begin() + static_cast<ptrdiff_t>(used));
    if (send) {
      send(output);
    } else {
      send_bytes(output);
    }
  }
  agreement_ = handshake.agreed();
  return handshake.why();
}

std::optional<NbdClient::Reply> NbdClient::reply(size_t read_bytes) {
  Reply whole;
  while (true) {
    Data head(nbd::reply_bytes(agreement_.headers == nbd::Headers::simple, agreement_.headers));
    if (!receive(head)) return std::nullopt;
    auto parsed = nbd::read_reply(head, agreement_.headers, nbd::kDefaultPayloadMax);
    if (!parsed.is_whole()) return std::nullopt;
    const nbd::ReplyHeader& header = *parsed.message;
    whole.cookie = header.cookie;
    if (header.is_simple) {
      whole.error = nbd::from_wire_error(header.error);
      if (whole.error == 0) whole.data.resize(read_bytes);
      if (!receive(whole.data)) return std::nullopt;
      return whole;
    }
    if (!take_chunk(header, whole)) return std::nullopt;
    if (header.is_last()) return whole;
  }
}

bool NbdClient::take_chunk(const nbd::ReplyHeader& header, Reply& whole) const {
  Data head(nbd::chunk_head_bytes(header.type));
  if (!receive(head)) return false;
  const auto parsed = nbd::read_chunk_head(head, header);
  if (!parsed.is_whole()) return false;
  Data rest(nbd::chunk_rest_bytes(header));
  if (!receive(rest)) return false;
  if (nbd::is_error(header.type)) whole.error = nbd::from_wire_error(parsed.message->error);
  if (header.type == nbd::ChunkType::offset_data) whole.data = rest;
  const size_t each = nbd::status_extent_bytes(agreement_.headers);
  for (uint32_t i = 0; i < parsed.message->extents; ++i) {
    whole.extents.push_back(
        nbd::read_status_extent(nbd::Bytes(rest).subspan(i * each, each), agreement_.headers));
  }
  return true;
}

}  // namespace sluice::test
