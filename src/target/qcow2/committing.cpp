// Qcow2Target: what the image has itself is moved to its backing file.
//
// A part of the disk is held exclusively from the first look until the image has dropped it, so
// that what is dropped is what is durable below. What is still mapped is the list of what is left:
// a power cut, or a failure, at any time leaves the same disk.
//
// What is moved is durable in the image first: a flush that fails there may lose what was written,
// and whatever is read in its place would be moved over the data below.
//
// A flush that fails below may lose what the backing file has copied around the new data, within a
// cluster of its own, and shows already. Nobody has seen that: the part that is held exclusively
// has whole clusters of both files, and before it is let go, the backing file is told to serve no
// reads until it is read anew.
#include <algorithm>

#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {
namespace {

// One flush below is for so much data, or for what there is within so much of the disk.
constexpr uint64_t kMovedBytes = 1 << 20;
constexpr uint64_t kMovedZeroes = 16 << 20;
constexpr uint64_t kMovedSpan = 32 << 20;

}  // namespace

Task Qcow2Target::move_down(Request& request, uint64_t offset, uint64_t& next, uint64_t& moved) {
  moved = 0;
  bool is_own = false;
  Task finding = find_own(request, offset, next, is_own);
  if (const Status found = co_await finding; !found.ok() || !is_own) co_return found;
  const uint64_t mask = cluster_bytes() - 1;
  const uint64_t size = geometry_.size_bytes;
  const uint64_t begin = offset & ~mask;
  const uint64_t end = std::min(begin + kMovedSpan, (size + mask) & ~mask);
  auto* const image_below = dynamic_cast<Qcow2Target*>(backing_);
  const uint64_t both = image_below == nullptr ? mask : mask | (image_below->cluster_bytes() - 1);
  const uint64_t held = begin & ~both;
  RangeLock::Hold hold(ranges_, *request.ring, held, ((end + both) & ~both) - held,
                       RangeLock::Mode::exclusive);
  co_await hold;
  Task flushing_own = image_.flush_data(request);
  if (const Status flushed = co_await flushing_own; !flushed.ok()) co_return flushed;
  uint64_t done = begin;
  Task writing = write_below(request, end, done, moved);
  Status written = co_await writing;
  if (written.ok() && moved != 0) {
    Request flush = plain(request, Op::flush);
    Task flushing = backing_->submit(flush);
    written = co_await flushing;
  }
  if (!written.ok()) {
    if (image_below != nullptr) image_below->is_distrusted_ = true;
    co_return written;
  }
  next = std::min(done, size);
  if (moved == 0) co_return kOk;
  Task dropping = drop_own(request, begin, done);
  co_return co_await dropping;
}

// Whether the image has what is at `offset`. `next`: where what it does not have ends.
Task Qcow2Target::find_own(Request& request, uint64_t offset, uint64_t& next, bool& is_own) {
  if (image_.corrupt()) co_return Status::from_errno(EIO);
  const uint64_t size = geometry_.size_bytes;
  RangeLock::Hold hold(ranges_, *request.ring, offset, size - offset, RangeLock::Mode::shared);
  co_await hold;
  Run run;
  Task looking = image_.look_up(request, offset, size - offset, run);
  if (const Status status = co_await looking; !status.ok()) co_return status;
  is_own = run.kind != Kind::unallocated;
  next = offset + run.length;
  co_return kOk;
}

// Whole clusters from `done` on, up to `end` or until it is enough for one flush.
Task Qcow2Target::write_below(Request& request, uint64_t end, uint64_t& done, uint64_t& moved) {
  const uint64_t size = geometry_.size_bytes;
  uint64_t weight = 0;
  while (done < std::min(end, size) &&
         (weight < kMovedBytes || (done & (cluster_bytes() - 1)) != 0)) {
    Run run;
    Task looking = image_.look_up(request, done, std::min(end, size) - done, run);
    if (const Status status = co_await looking; !status.ok()) co_return status;
    if (run.kind != Kind::unallocated) {
      const bool is_zero = run.kind == Kind::zero;
      run.length = std::min(run.length, is_zero ? kMovedZeroes : kMovedBytes);
      Request part = plain(request, Op::write_zeroes, done, run.length);
      Task writing = is_zero ? backing_->submit(part) : write_run_below(part, run);
      if (const Status status = co_await writing; !status.ok()) co_return status;
      moved += run.length;
      weight += is_zero ? run.length / (kMovedZeroes / kMovedBytes) + 1 : run.length;
    }
    done += run.length;
  }
  if (done == size) done = end;
  co_return kOk;
}

Task Qcow2Target::write_run_below(Request& request, Run run) {
  const Buffer memory(run.length);
  {
    PrivateLoan loan(Direction::destination, memory.bytes());
    Request reading = transfer(request, Op::read, request.offset, loan.view());
    Task read = read_run(reading, run);
    if (const Status status = co_await read; !status.ok()) co_return status;
  }
  PrivateLoan loan(Direction::source, memory.bytes());
  Request writing = transfer(request, Op::write, request.offset, loan.view());
  Task written = backing_->submit(writing);
  co_return co_await written;
}

// The whole clusters of the range, which the caller holds exclusively, and which are durable below.
Task Qcow2Target::drop_own(Request& request, uint64_t offset, uint64_t end) {
  while (offset < end) {
    const uint64_t clusters = std::min({image_.clusters_together(offset), uint64_t{Change::kMost},
                                        (end - offset) / cluster_bytes()});
    if (image_.has_table(offset)) {
      Task step = drop_step(request, offset, clusters);
      if (const Status status = co_await step; !status.ok()) co_return status;
    }
    offset += clusters * cluster_bytes();
  }
  co_return kOk;
}

Task Qcow2Target::drop_step(Request& request, uint64_t offset, uint64_t clusters) {
  Change change{.offset = offset, .count = clusters};
  Task loading = load_change(request, change);
  if (const Status status = co_await loading; !status.ok()) co_return status;
  for (size_t i = 0; i < change.count; ++i) change.fresh[i] = true;  // nothing is kept
  Task storing = store_unmapped(request, change);
  co_return co_await storing;
}

// --- The backing file itself

Task Qcow2Target::grow_here(Request& request, uint64_t size_bytes) {
  if (image_.header().version == 2 && image_.header().snapshots != 0) {
    co_return Status::from_errno(EOPNOTSUPP);
  }
  Task growing = grow(request, size_bytes);
  const Status grown = co_await growing;
  if (grown.ok()) geometry_.size_bytes = size_bytes;
  co_return grown;
}

}  // namespace sluice::qcow2
