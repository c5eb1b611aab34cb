#include "frontend/nbd/request_tag.hpp"

#include <algorithm>

namespace sluice::nbd {
namespace {

constexpr size_t kContextsMax = 64;  // of a set

size_t count_of(const ReplyForm& form) { return std::min(form.contexts.size(), kContextsMax); }

}  // namespace

ContextSet all_contexts(const ReplyForm& form) {
  const size_t count = count_of(form);
  return count == 0 ? 0 : UINT64_MAX >> (kContextsMax - count);
}

ContextSet read_contexts(const ReplyForm& form, Reader& reader) {
  ContextSet chosen = 0;
  while (!reader.is_done()) {
    const auto id = reader.number<uint32_t>();
    const auto found = std::ranges::find(form.contexts, id, &MetaContext::id);
    const auto place = static_cast<size_t>(found - form.contexts.begin());
    if (reader.has_failed() || place >= count_of(form) || (chosen >> place & 1) != 0) return 0;
    chosen |= ContextSet{1} << place;
  }
  return chosen;
}

void RequestTag::answer(const ReplyForm& form, Status status) {
  const uint32_t error = to_wire_error(status.error());
  if (error != 0) payload = {};
  head_bytes_ = 0;
  if (error == 0 && asked.command == Command::block_status) return;
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
  }
  head_bytes_ = write_reply(reply, form.headers, head_);
  if (!reply.is_simple) {
    head_bytes_ += write_chunk_head(reply.type, head, std::span(head_).subspan(head_bytes_));
  }
}

size_t RequestTag::pieces(std::span<iovec> into) const {
  if (head_bytes_ == 0) {
    into[0] = {.iov_base = payload.data(), .iov_len = payload.size()};
    return 1;
  }
  into[0] = {.iov_base = const_cast<std::byte*>(head_.data()), .iov_len = head_bytes_};
  if (payload.empty()) return 1;
  into[1] = {.iov_base = payload.data(), .iov_len = payload.size()};
  return 2;
}

}  // namespace sluice::nbd
