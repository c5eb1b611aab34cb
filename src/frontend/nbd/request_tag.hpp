// RequestTag: a tag of an NBD connection: a request of the client, its memory, and its reply.
#pragma once

#include <sys/uio.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/fifo.hpp"
#include "core/page_pool.hpp"
#include "nbd/handshake.hpp"
#include "nbd/reply.hpp"
#include "nbd/request.hpp"
#include "reactor/byte_io.hpp"
#include "reactor/tag.hpp"

namespace sluice::nbd {

inline constexpr size_t kQueryBytesMax = 512;  // the payload of a block status request

// What the peers have agreed on for replies.
struct ReplyForm {
  Headers headers = Headers::simple;
  std::vector<MetaContext> contexts;
};

// Contexts of a form as bits, by their places in it.
using ContextSet = uint64_t;
ContextSet all_contexts(const ReplyForm& form);
// Those with the numbers that follow. None: there is another number, or one twice.
ContextSet read_contexts(const ReplyForm& form, Reader& reader);

struct RequestTag final : sluice::Tag, FifoLink<RequestTag> {
  // The data comes first in its pages, the edges, if they are needed, last.
  ByteIo::Memory memory() const {
    constexpr size_t kEdges = 2 * ByteIo::kBlockBytesMax;
    const std::span<std::byte> all = pages.bytes();
    return {.data = all.data(), .edges = all.size() > kEdges ? all.last(kEdges).data() : nullptr};
  }

  // Prepares the reply, which `form` describes. A READ that has succeeded has its payload in
  // `payload`, block status its whole reply.
  void answer(const ReplyForm& form, Status status);
  // The reply in one or two pieces; returns how many.
  size_t pieces(std::span<iovec> into) const;

  RequestHeader asked;
  uint64_t length = 0;      // of the range, in bytes
  ContextSet contexts = 0;  // block status: those that are asked for
  int refusal = 0;          // an errno: the request is answered with it, and not served
  Pages pages;
  std::span<std::byte> payload;  // of the reply
  uint32_t piped_bytes = 0;      // the payload of a READ is in the pipe of the connection instead
  std::coroutine_handle<> coroutine;

 private:
  std::array<std::byte, kReplyBytesMax + 16> head_{};
  size_t head_bytes_ = 0;
};

}  // namespace sluice::nbd
