#include "frontend/nbd/request_tag.hpp"

namespace sluice::nbd {

void RequestTag::answer(const ReplyForm& form, Status status) {
  const uint32_t error = to_wire_error(status.error());
  if (error != 0) payload = {};
  ReplyHeader reply{.cookie = asked.cookie, .flags = kReplyDone, .offset = asked.offset};
  ChunkHead head;
  if (form.headers == Headers::simple) {
    reply.is_simple = true;
    reply.error = error;
  } else if (error != 0) {
    reply.type = ChunkType::error;
    head.error = error;
    reply.length = chunk_head_bytes(reply.type);
  } else if (asked.command == Command::read) {
    reply.type = ChunkType::offset_data;
    head.offset = asked.offset;
    reply.length = chunk_head_bytes(reply.type) + payload.size() + piped_bytes;
  } else if (asked.command == Command::block_status) {
    const bool extended = form.headers == Headers::extended;
    reply.type = extended ? ChunkType::block_status_extended : ChunkType::block_status;
    head.context = form.contexts.front().id;
    head.extents = static_cast<uint32_t>(payload.size() / status_extent_bytes(form.headers));
    reply.length = chunk_head_bytes(reply.type) + payload.size();
  }
  head_bytes_ = write_reply(reply, form.headers, head_);
  if (!reply.is_simple) {
    head_bytes_ += write_chunk_head(reply.type, head, std::span(head_).subspan(head_bytes_));
  }
}

size_t RequestTag::pieces(std::span<iovec> into) const {
  into[0] = {.iov_base = const_cast<std::byte*>(head_.data()), .iov_len = head_bytes_};
  if (payload.empty()) return 1;
  into[1] = {.iov_base = payload.data(), .iov_len = payload.size()};
  return 2;
}

}  // namespace sluice::nbd
