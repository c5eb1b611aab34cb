// RbdTarget: the calls of the library.
#include <limits.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/gather.hpp"
#include "core/memory_cursor.hpp"
#include "ring/ring.hpp"
#include "target/rbd/rbd_target.hpp"

namespace sluice::rbd {
namespace {

constexpr uint32_t kPiecesTogether = 4;  // of one request; bounds its arena

// In the frame of the coroutine that waits.
struct Pending {
  Pending(const Library& its_library, ExternalCount& count) : library(its_library), end(count) {}

  const Library& library;
  ExternalCompletion end;
};

// On a thread of the library.
void note_end_of_call(rbd_completion_t handle, void* argument) {
  auto& pending = *static_cast<Pending*>(argument);
  const int64_t result = pending.library.rbd_aio_get_return_value(handle);
  pending.library.rbd_aio_release(handle);
  pending.end.complete(result);
}

// Calls `visit` with each contiguous part of memory.
template <typename Visit>
void for_each_address(const View& data, Visit visit) {
  for (const Segment& segment : data.segments()) {
    uint32_t left = segment.length;
    if (left == 0) continue;
    for (MemoryCursor at(*data.loan(), segment.offset); left != 0;) {
      const uint32_t bytes = std::min(left, at.left());
      visit(iovec{.iov_base = reinterpret_cast<void*>(at.address()), .iov_len = bytes});
      at.skip(bytes);
      left -= bytes;
    }
  }
}

size_t count_addresses(const View& data) {
  size_t count = 0;
  for_each_address(data, [&](const iovec&) { ++count; });
  return count;
}

}  // namespace

Task RbdTarget::transfer(Request& request, OnRing& here) {
  if (request.data.loan()->addressable()) {
    const size_t parts = count_addresses(request.data);
    if (parts <= IOV_MAX) return transfer_in_place(request, here, parts);
  }
  if (request.length <= kPieceBytes) return transfer_pieces(request, here, nullptr);
  return transfer_together(request, here);
}

Task RbdTarget::transfer_in_place(Request& request, OnRing& here, size_t parts) {
  const std::span<iovec> memory = request.arena->array<iovec>(parts);
  size_t next = 0;
  for_each_address(request.data, [&](const iovec& part) { memory[next++] = part; });
  Task performing = perform(
      request, here,
      {.op = request.op, .offset = request.offset, .length = request.length, .memory = memory});
  const Status status = co_await performing;
  request.arena->release(memory.data(), memory.size_bytes());
  if (!status.ok()) co_return status;
  state_->direct_bytes.fetch_add(request.length, std::memory_order_relaxed);
  if (request.op == Op::read) {
    for (const Segment& segment : request.data.segments()) request.data.loan()->fill(segment);
  }
  co_return kOk;
}

Task RbdTarget::transfer_together(Request& request, OnRing& here) {
  Pieces pieces(request, kPieceBytes);
  const uint64_t together = std::min<uint64_t>(pieces.count(), kPiecesTogether);
  Gather all(request, together);
  for (uint64_t i = 0; i < together; ++i) all.add(transfer_pieces(request, here, &pieces));
  co_return co_await all;
}

// `shared`: null if there is one that serves the request. An error ends all.
Task RbdTarget::transfer_pieces(Request& request, OnRing& here, Pieces* shared) {
  Pieces own(request, kPieceBytes);
  Pieces& pieces = shared != nullptr ? *shared : own;
  auto waiting = here.buffers->take();
  const PooledBuffer buffer = co_await waiting;
  for (Piece piece; pieces.take(request, piece);) {
    const auto& [done, bytes, data] = piece;
    const auto there = buffer.bytes().first(bytes);
    const iovec memory{.iov_base = there.data(), .iov_len = bytes};
    Status status;
    if (request.op == Op::write) {
      auto copying = request.ring->copy_out(data, there);
      status = co_await copying;
    }
    if (status.ok()) {
      Task performing = perform(request, here,
                                {.op = request.op,
                                 .offset = request.offset + done,
                                 .length = bytes,
                                 .memory = {&memory, 1}});
      status = co_await performing;
    }
    if (status.ok() && request.op == Op::read) {
      auto copying = request.ring->copy_in(data, there);
      status = co_await copying;
    }
    if (!status.ok()) {
      pieces.give_up();
      co_return status;
    }
    state_->copied_bytes.fetch_add(bytes, std::memory_order_relaxed);
  }
  co_return kOk;
}

// Once more if a feature of the image was disabled meanwhile, which looks like a client that was
// shut out. Not with a lock of ours: it may be another's by now.
Task RbdTarget::perform(Request& request, OnRing& here, Call call) {
  if (!fits(call)) co_return report(request, -ENXIO);
  for (bool is_retry = false;; is_retry = true) {
    Pending pending(library_, here.count);
    rbd_completion_t handle = nullptr;
    if (library_.rbd_aio_create_completion(&pending, note_end_of_call, &handle) < 0) {
      co_return Status::from_errno(ENOMEM);
    }
    pending.end.begin();
    if (const int refused = begin(call, handle); refused < 0) {
      library_.rbd_aio_release(handle);
      pending.end.complete(refused);
    }
    auto& ending = pending.end;
    [[maybe_unused]] const Status ended = co_await ending;
    const int64_t result = ending.result();
    if (result >= 0) co_return conclude(request, call, result);
    if (result != -ESHUTDOWN || is_retry || access() != Image::Access::shared) {
      co_return report(request, result);
    }
    auto look = [this] { return session_->look(); };
    Offload::Job job(session_->offload(), here.count, "look at image", look);
    const Status looked = co_await job;
    if (!looked.ok()) co_return report(request, -looked.error());
    state_->retries.fetch_add(1, std::memory_order_relaxed);
  }
}

// The library only puts it into a queue (rbd_non_blocking_aio).
int RbdTarget::begin(const Call& call, rbd_completion_t handle) {
  const rbd_image_t image = session_->image().handle();
  const auto parts = static_cast<int>(call.memory.size());
  switch (call.op) {
    case Op::read:
      return library_.rbd_aio_readv(image, call.memory.data(), parts, call.offset, handle);
    case Op::write:
      return library_.rbd_aio_writev(image, call.memory.data(), parts, call.offset, handle);
    case Op::discard:
      return library_.rbd_aio_discard(image, call.offset, call.length, handle);
    case Op::write_zeroes:
      return library_.rbd_aio_write_zeroes(image, call.offset, call.length, handle, call.flags, 0);
    case Op::flush:
    case Op::prefetch:
      break;
  }
  return library_.rbd_aio_flush(image, handle);
}

// A flush has no place: block devices give it one beyond any end.
bool RbdTarget::fits(const Call& call) const {
  return call.op == Op::flush || call.offset + call.length <= state_->size_bytes();
}

// The library cuts off what is beyond the end of an image that has shrunk meanwhile.
Status RbdTarget::conclude(Request& request, const Call& call, int64_t result) {
  state_->answered();
  const bool is_whole = call.op != Op::read || static_cast<uint64_t>(result) == call.length;
  return is_whole && fits(call) ? kOk : report(request, -ENXIO);
}

Status RbdTarget::report(Request& request, int64_t result) {
  const auto error = static_cast<int>(-result);
  switch (error) {
    case ESHUTDOWN:
      state_->fail("the cluster has shut this client out (blocklisted): add the device again");
      errors_.report(request, error, "the client is blocklisted");
      return Status::from_errno(EIO);
    case EROFS:
      errors_.report(request, error, "another client keeps the lock");
      if (access() == Image::Access::exclusive) {
        state_->fail("the exclusive lock of the image is lost: add the device again");
      }
      return Status::from_errno(EIO);
    case ETIMEDOUT:
      state_->timed_out();
      errors_.report(request, error, "the cluster does not answer");
      return Status::from_errno(ETIMEDOUT);
    case ENXIO:
      errors_.report(request, error, "the image has shrunk");
      return Status::from_errno(EIO);
    default:
      break;
  }
  errors_.report(request, error);
  const bool is_for_clients = error == ENOSPC || error == EDQUOT || error == ENOMEM;
  return Status::from_errno(is_for_clients ? error : EIO);
}

}  // namespace sluice::rbd
