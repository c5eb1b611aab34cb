#include "target/target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "spec/size.hpp"

namespace sluice {
namespace {

// What write zeroes is made of where a target has none. Never written, so it costs no memory.
constexpr uint32_t kZeroBytes = 256 * 1024;
alignas(4096) std::byte zeroes[kZeroBytes];

}  // namespace

Task Target::submit(Request& request) {
  request.where.door = this;
  if (const Status status = check(request); !status.ok()) return status;
  if (request.length == 0 && request.op != Op::flush) return kOk;  // fallocate would refuse it
  switch (request.op) {
    case Op::flush:
      if (!geometry_.volatile_cache) return kOk;
      break;
    case Op::discard:
      if (!geometry_.can_discard) return Status::from_errno(EOPNOTSUPP);
      break;
    case Op::write_zeroes:
      if (!geometry_.can_write_zeroes) return write_zeroes_by_hand(request);
      break;
    case Op::read:
    case Op::write:
      break;
  }
  if (request.fua && geometry_.volatile_cache && !geometry_.can_fua) return write_durably(request);
  const uint64_t most = request.has_data() ? geometry_.max_io_bytes : geometry_.max_discard_bytes;
  if (most != 0 && request.length > most) return split(request, most);
  return do_submit(request);
}

Status Target::check(const Request& request) const {
  if (request.op == Op::flush) return kOk;
  const uint64_t size = geometry_.size_bytes;
  const uint64_t block_mask = geometry_.logical_block_bytes - 1;
  if (request.offset > size || request.length > size - request.offset ||
      ((request.offset | request.length) & block_mask) != 0) {
    return Status::from_errno(EINVAL);
  }
  if (request.op != Op::read && geometry_.read_only) return Status::from_errno(EROFS);
  if (!request.has_data()) return kOk;
  if (!request.data.status().ok()) return request.data.status();
  assert(request.data.length() == request.length);
  return kOk;
}

// FUA for a target that has only flush.
Task Target::write_durably(Request& request) {
  Request write = request.child(request.offset, request.length);
  write.data = request.data;
  write.fua = false;
  Task writing = submit(write);
  const Status written = co_await writing;
  if (!written.ok()) co_return written;
  Request flush = request.child(0, uint64_t{0});
  flush.op = Op::flush;
  flush.fua = false;
  Task flushing = do_submit(flush);
  const Status flushed = co_await flushing;
  // Whatever it says, earlier writes may be lost with it: not to be taken for a write that found no
  // room or was refused.
  co_return flushed.ok() ? flushed : Status::from_errno(EIO);
}

Task Target::write_zeroes_by_hand(Request& request) {
  PrivateLoan loan(Direction::source, zeroes);
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t left = request.length - done;
    const uint32_t bytes = static_cast<uint32_t>(std::min<uint64_t>(left, kZeroBytes));
    Request write = request.child(request.offset + done, loan.view(0, bytes));
    write.op = Op::write;
    Task writing = submit(write);
    const Status status = co_await writing;
    if (!status.ok()) co_return status;
    done += bytes;
  }
  co_return kOk;
}

Task Target::split(Request& request, uint64_t most_bytes) {
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t bytes = std::min(request.length - done, most_bytes);
    Request part = request.child(request.offset + done, bytes);
    if (request.has_data()) {
      part.data = request.data.slice(static_cast<uint32_t>(done), static_cast<uint32_t>(bytes),
                                     *request.arena);
    }
    Task serving = do_submit(part);
    const Status status = co_await serving;
    if (!status.ok()) co_return status;
    done += bytes;
  }
  co_return kOk;
}

Task Target::forward(Request& request, Target& to, uint64_t offset) {
  if (offset == request.offset) return to.submit(request);
  return forward_moved(request, to, offset);
}

Task Target::forward_moved(Request& request, Target& to, uint64_t offset) {
  Request moved = request.child(offset, request.length);
  moved.data = request.data;
  moved.follower = request.follower;
  Task serving = to.submit(moved);
  co_return co_await serving;
}

Task Target::submit_to_all(Request& request) {
  Gather children(request, children_.size());
  for (const auto& each : children_) children.add(each->submit(request));
  co_return co_await children;
}

Result<uint64_t> Target::resize(std::optional<uint64_t> wanted) {
  const uint64_t now = geometry_.size_bytes;
  const uint64_t block = geometry_.logical_block_bytes;
  if (wanted && *wanted < now) {
    return fail(EINVAL, fmt::format("it cannot be made smaller, from {} bytes to {}: copy what it "
                                    "holds to a new device of that size",
                                    now, *wanted));
  }
  if (wanted && *wanted > kSizeMax) return fail(EFBIG, "no device can exceed 8 EiB: ask for less");
  if (wanted && *wanted % block != 0) {
    return fail(EINVAL,
                fmt::format("size {} is no multiple of {} bytes, its block: give {} or {}", *wanted,
                            block, *wanted / block * block, (*wanted / block + 1) * block));
  }
  auto size = do_resize(wanted);
  if (!size) return size;
  if (*size < now) {
    return fail(EINVAL, fmt::format("it has {} bytes, but what it stands on now holds only {}: "
                                    "restore that to its size",
                                    now, *size));
  }
  geometry_.size_bytes = *size;
  return size;
}

Result<uint64_t> Target::do_resize(std::optional<uint64_t>) {
  return fail(EOPNOTSUPP,
              "one of its targets cannot change its size: delete the device and add it "
              "again with the new size");
}

Geometry common_geometry(const Target::Children& children) {
  Geometry common = children.front()->geometry();
  for (const auto& child : children) common = combine(common, child->geometry());
  return common;
}

}  // namespace sluice
