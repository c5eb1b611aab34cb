// ThinTarget: discards, zeroes, and what is mapped.
#include <algorithm>

#include "core/extents.hpp"
#include "ring/ring.hpp"
#include "target/thin/thin_target.hpp"

namespace sluice::thin {
namespace {

constexpr uint64_t kStepBlocks = 4096;  // that are held at once

constexpr uint64_t round_up(uint64_t offset, uint64_t unit) {
  return (offset + unit - 1) / unit * unit;
}

}  // namespace

// Whole blocks; a volume on an external origin must not show its data again (T6.4).
Task ThinTarget::discard(Request& request) {
  if (pool_->options().discards == Discards::ignore || origin_ != nullptr) co_return kOk;
  uint64_t end = request.offset + request.length;
  Task unmapping = unmap(request, request.offset, end);
  co_return co_await unmapping;
}

// Behind the last block that such a range has as a whole. The last one of the volume may be a part.
uint64_t ThinTarget::last_block(uint64_t end) const {
  return (end == geometry_.size_bytes ? round_up(end, block_bytes_) : end) / block_bytes_;
}

// The whole blocks of the range; `end` becomes where they end.
Task ThinTarget::unmap(Request& request, uint64_t begin, uint64_t& end) {
  uint64_t block = round_up(begin, block_bytes_) / block_bytes_;
  uint64_t last = last_block(end);
  while (block < last) {
    Task finding = pool_->find_mapped(request, volume_, block, last);
    if (const Status status = co_await finding; !status.ok()) co_return status;
    if (block >= last) break;
    uint64_t until = std::min(last, block + kStepBlocks);
    RangeLock::Hold hold(volume_.ranges(), *request.ring, block * block_bytes_,
                         (until - block) * block_bytes_, RangeLock::Mode::exclusive);
    co_await hold;
    // If the volume has grown, the rest of its former last block may have been written.
    last = last_block(end);
    until = std::min(until, last);
    while (block < until) {
      Task unmapping = pool_->unmap(request, volume_, block, until);
      if (const Status status = co_await unmapping; !status.ok()) co_return status;
    }
  }
  end = std::min(end, last * block_bytes_);
  co_return kOk;
}

// Whole blocks by unmapping them, what is before and after them as data.
Task ThinTarget::write_zeroes(Request& request) {
  const bool may_unmap = request.may_unmap && origin_ == nullptr;
  const uint64_t end = request.offset + request.length;
  const uint64_t first = std::min(end, round_up(request.offset, block_bytes_));
  const uint64_t last =
      std::max(first, end == geometry_.size_bytes ? end : end / block_bytes_ * block_bytes_);
  if (!may_unmap || first == last) {
    if (request.fast_only) co_return Status::from_errno(EOPNOTSUPP);
    Task writing = write_zeroes_by_hand(request);
    co_return co_await writing;
  }
  if (request.fast_only && (first != request.offset || last != end)) {
    co_return Status::from_errno(EOPNOTSUPP);
  }
  uint64_t unmapped = last;
  Task unmapping = unmap(request, first, unmapped);
  if (const Status status = co_await unmapping; !status.ok()) co_return status;
  Request head = request.child(request.offset, first - request.offset);
  Request tail = request.child(unmapped, end - unmapped);
  for (Request* const part : {&head, &tail}) {
    if (part->length == 0) continue;
    part->fua = false;
    part->fast_only = false;
    Task writing = write_zeroes_by_hand(*part);
    if (const Status written = co_await writing; !written.ok()) co_return written;
  }
  if (!request.fua && !pool_->options().outlives_server) co_return kOk;
  Task flushing = pool_->transaction().flush(request);
  co_return co_await flushing;
}

Task ThinTarget::do_extents(Request& request, Extents& found) {
  for (uint64_t done = 0; done < request.length;) {
    RangeLock::Hold hold(volume_.ranges(), *request.ring, request.offset + done,
                         request.length - done, RangeLock::Mode::shared);
    co_await hold;
    Run run;
    Task looking = look_up(request, request.offset + done, request.length - done, run);
    if (const Status status = co_await looking; !status.ok()) co_return status;
    if (!run.place.is_mapped()) {
      uint64_t next = (request.offset + done + run.length - 1) / block_bytes_ + 1;
      Task finding = pool_->find_mapped(request, volume_, next, UINT64_MAX);
      if (const Status status = co_await finding; !status.ok()) co_return status;
      const uint64_t left = request.length - done;
      const uint64_t blocks = next - (request.offset + done) / block_bytes_;
      run.length = blocks > left / block_bytes_ + 1
                       ? left
                       : std::min(left, next * block_bytes_ - (request.offset + done));
    }
    Extent extent = run.place.is_mapped() ? kDataExtent : kNothingExtent;
    if (!run.place.is_mapped() && origin_ != nullptr) {
      Request below = request.child(request.offset + done, run.length);
      Extents there(run.length, found.detail());
      Task asking = extents_of_origin(below, there);
      if (const Status status = co_await asking; !status.ok()) co_return status;
      if (!found.add(there) || !there.complete()) co_return kOk;
    } else if (!found.add(run.length, extent)) {
      co_return kOk;
    }
    done += run.length;
  }
  co_return kOk;
}

Task ThinTarget::extents_of_origin(Request& request, Extents& found) {
  const uint64_t size = origin_->geometry().size_bytes;
  const uint64_t there = std::min(request.length, size - std::min(size, request.offset));
  if (there != 0) {
    Request part = request.child(request.offset, there);
    Extents below(there, found.detail());
    Task asking = origin_->extents(part, below);
    if (const Status status = co_await asking; !status.ok()) co_return status;
    for (Extent each : below.list()) {
      ++each.depth;
      if (!found.add(each.length, each)) co_return kOk;
    }
    if (!below.complete()) co_return kOk;
  }
  found.add(request.length - there, kNothingExtent);
  co_return kOk;
}

}  // namespace sluice::thin
