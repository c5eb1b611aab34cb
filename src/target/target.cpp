#include "target/target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/extents.hpp"
#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "spec/size.hpp"

namespace sluice {
namespace {

// The source for emulated write zeroes. In the read-only data of the program's file, so that all
// servers share it in memory.
constexpr uint32_t kZeroBytes = 256 * 1024;
alignas(4096) constexpr std::byte kZeroes[kZeroBytes] = {};

}  // namespace

Task Target::submit(Request& request) {
  request.tracking.door = this;
  if (const Status status = check(request); !status.ok()) return status;
  if (request.length == 0 && request.op != Op::flush) return kOk;  // fallocate() would refuse it
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
    case Op::prefetch:
      if (!geometry_.can_prefetch) return kOk;
      break;
    case Op::read:
    case Op::write:
      break;
  }
  if (request.fua && geometry_.volatile_cache && !geometry_.can_fua) return write_durably(request);
  const uint64_t most = request.has_data() ? geometry_.max_io_bytes : geometry_.max_discard_bytes;
  if (request.op != Op::prefetch && most != 0 && request.length > most) return split(request, most);
  try {
    return do_submit(request);
  } catch (...) {
    return status_of_exception();
  }
}

Status Target::check(const Request& request) const {
  if (request.op == Op::flush) return kOk;
  if (const Status status = check_range(request); !status.ok()) return status;
  if (request.changes_data() && geometry_.read_only) return Status::from_errno(EROFS);
  if (!request.has_data()) return kOk;
  if (!request.data.status().ok()) return request.data.status();
  return Status::from_errno(request.data.length() == request.length ? 0 : EINVAL);
}

Status Target::check_range(const Request& request) const {
  const uint64_t size = geometry_.data_bytes();
  const uint64_t block_mask = geometry_.logical_block_bytes - 1;
  const uint64_t end_mask = geometry_.exact_bytes == 0 ? block_mask : 0;
  const bool fits = request.offset <= size && request.length <= size - request.offset &&
                    ((request.offset & block_mask) | (request.length & end_mask)) == 0;
  return Status::from_errno(fits ? 0 : EINVAL);
}

// Emulates FUA by a flush.
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
  // Whatever its errno, earlier writes may be lost: never report it as a refused write, for
  // instance for lack of space.
  co_return flushed.ok() ? flushed : Status::from_errno(EIO);
}

Task Target::write_zeroes_by_hand(Request& request) {
  if (request.fast_only) co_return Status::from_errno(EOPNOTSUPP);
  // Lent as a source: never written to.
  PrivateLoan loan(Direction::source, {const_cast<std::byte*>(kZeroes), kZeroBytes});
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
  moved.linked_command = request.linked_command;
  Task serving = to.submit(moved);
  co_return co_await serving;
}

Task Target::submit_to_all(Request& request) {
  Gather children(request, children_.size());
  for (const auto& each : children_) children.add(each->submit(request));
  co_return co_await children;
}

Task Target::extents(Request& request, Extents& found) {
  request.tracking.door = this;
  if (const Status status = check_range(request); !status.ok()) co_return status;
  Task finding = do_extents(request, found);
  if (const Status status = co_await finding; !status.ok()) co_return status;
  if (found.covered_bytes() == 0) found.add(request.length, kDataExtent);
  co_return kOk;
}

Task Target::do_extents(Request&, Extents&) { return kOk; }

Result<uint64_t> Target::resize(std::optional<uint64_t> wanted) {
  const uint64_t now = geometry_.size_bytes;
  const uint64_t block = geometry_.logical_block_bytes;
  if (wanted && *wanted < now) {
    return fail(
        EINVAL,
        fmt::format(
            "it cannot shrink from {} bytes to {}: copy its data to a new device of that size", now,
            *wanted));
  }
  if (wanted && *wanted > kSizeMax) return fail(EFBIG, "no device can exceed 8 EiB: ask for less");
  if (wanted && *wanted % block != 0) {
    return fail(EINVAL, fmt::format("size {} is no multiple of {} bytes, its block: {}", *wanted,
                                    block, advise_multiple(*wanted, block, now)));
  }
  auto size = do_resize(wanted);
  if (!size) return size;
  if (*size < now) {
    return fail(
        EINVAL,
        fmt::format("it has {} bytes, but its backing now has only {}: restore that to its size",
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

std::string Target::swap_risk() const {
  for (const auto& each : children_) {
    if (std::string risk = each->swap_risk(); !risk.empty()) return risk;
  }
  return {};
}

std::vector<Target*> Target::named_children() const {
  std::vector<Target*> named;
  named.reserve(children_.size());
  for (const auto& each : children_) named.push_back(each.get());
  return named;
}

std::vector<RegisteredFile> registered_files_of(const Target& target) {
  std::vector<RegisteredFile> found;
  for (const auto& child : target.children()) {
    std::ranges::copy(registered_files_of(*child), std::back_inserter(found));
  }
  for (const OpenFile& file : target.files()) {
    if (!file.slot) continue;
    found.push_back({.slot = file.slot->file(), .descriptor = file.descriptor.number()});
  }
  return found;
}

void own_files_of(Target& target, bool ours) {
  target.own_files(ours);
  for (const auto& child : target.children()) own_files_of(*child, ours);
}

void note_end_of(Target& target) {
  target.note_end();
  for (const auto& child : target.children()) note_end_of(*child);
}

Geometry common_geometry(const Target::Children& children) {
  Geometry common = children.front()->geometry();
  for (const auto& child : children) common = combine(common, child->geometry());
  return common;
}

}  // namespace sluice
