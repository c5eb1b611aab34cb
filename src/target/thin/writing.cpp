// ThinTarget: writing.
#include <algorithm>

#include "core/buffer.hpp"
#include "core/child_requests.hpp"
#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "ring/ring.hpp"
#include "target/plain_request.hpp"
#include "target/thin/thin_target.hpp"

namespace sluice::thin {
namespace {

constexpr size_t kRunsAtOnce = 16;
constexpr uint64_t kCopyBytes = 1 << 20;  // of a block at once

}  // namespace

// FUA: a mapping that is not durable needs a commit, and then the whole is as good as flushed. A
// device that goes on when its server is killed needs one without FUA as well.
Task ThinTarget::write(Request& request) {
  bool written = false;
  Task in_place = write_in_place(request, written);
  Status status = co_await in_place;
  if (!status.ok()) co_return status;
  if (!written) {
    Task writing = write_new(request);
    status = co_await writing;
    if (!status.ok()) co_return status;
  }
  if (!request.fua && !pool_->options().outlives_server) co_return status;
  if (written && pool_->transaction().is_committed()) co_return status;
  Task flushing = pool_->transaction().flush(request);
  co_return co_await flushing;
}

// If all of it is where it may be overwritten.
Task ThinTarget::write_in_place(Request& request, bool& written) {
  RangeLock::Hold hold(volume_.ranges(), *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  std::array<Run, kRunsAtOnce> runs;
  size_t count = 0;
  for (uint64_t found = 0; found < request.length; found += runs[count++].length) {
    if (count == runs.size()) co_return kOk;
    Task looking = look_up(request, request.offset + found, request.length - found, runs[count]);
    if (const Status status = co_await looking; !status.ok()) co_return status;
    if (!runs[count].place.is_mapped() || runs[count].place.is_shared()) co_return kOk;
  }
  written = true;
  if (count == 1) {
    Task writing = write_run(request, runs[0]);
    co_return co_await writing;
  }
  ChildRequests parts(request, count);
  Gather children(request, count);
  uint64_t done = 0;
  for (size_t i = 0; i < count; ++i) {
    View part = request.data.slice(static_cast<uint32_t>(done),
                                   static_cast<uint32_t>(runs[i].length), *request.arena);
    Request& writing = parts.add(request.child(request.offset + done, std::move(part)));
    children.add(write_run(writing, runs[i]));
    done += runs[i].length;
  }
  co_return co_await children;
}

Task ThinTarget::write_run(Request& request, const Run& run) {
  return forward(request, pool_->data(), run.offset);
}

// Again when there is space in the pool. A data device that has none fails the write at once.
Task ThinTarget::write_new(Request& request) {
  const auto deadline = std::chrono::steady_clock::now() + pool_->options().no_space_timeout;
  for (;;) {
    const uint64_t made = pool_->space_made();
    bool is_full = false;
    Task trying = try_write_new(request, is_full);
    const Status status = co_await trying;
    if (!is_full) co_return status;
    Task waiting = pool_->wait_for_space(request, made, deadline);
    if (const Status waited = co_await waiting; !waited.ok()) co_return waited;
  }
}

Task ThinTarget::try_write_new(Request& request, bool& is_full) {
  const uint64_t first = request.offset / block_bytes_;
  const uint64_t end = (request.offset + request.length - 1) / block_bytes_ + 1;
  RangeLock::Hold hold(volume_.ranges(), *request.ring, first * block_bytes_,
                       (end - first) * block_bytes_, RangeLock::Mode::exclusive);
  co_await hold;
  std::vector<NewBlock> blocks(end - first);
  for (uint64_t i = 0; i < blocks.size(); ++i) blocks[i].block = first + i;
  Task planning = plan(request, blocks);
  if (const Status status = co_await planning; !status.ok()) co_return status;
  std::vector<Pool::Placing> placings;
  for (const NewBlock& each : blocks) {
    if (!each.in_place) placings.push_back({.block = each.block});
  }
  if (!placings.empty()) {
    Task reserving = pool_->reserve(request, placings);
    const Status status = co_await reserving;
    is_full = status.error() == ENOSPC;
    if (!status.ok()) co_return status;
    auto placing = placings.begin();
    for (NewBlock& each : blocks) {
      if (!each.in_place) each.data_block = (placing++)->data_block;
    }
  }
  Task filling = fill(request, blocks);
  const Status filled = co_await filling;
  if (placings.empty()) co_return filled;
  if (!filled.ok()) {
    Task giving = pool_->give_back(request, placings);
    std::ignore = co_await giving;
    co_return filled;
  }
  Task mapping = pool_->map(request, volume_, placings);
  co_return co_await mapping;
}

Task ThinTarget::plan(Request& request, std::span<NewBlock> blocks) {
  for (NewBlock& each : blocks) {
    Run run;
    Task looking = look_up(request, each.block * block_bytes_, block_bytes_, run);
    if (const Status status = co_await looking; !status.ok()) co_return status;
    each.before = run.place;
    each.in_place = run.place.is_mapped() && !run.place.is_shared();
    if (each.in_place) each.data_block = run.place.data_block();
  }
  co_return kOk;
}

// The data in runs of neighbouring data blocks, and what it does not cover of the new ones.
Task ThinTarget::fill(Request& request, std::span<const NewBlock> blocks) {
  const uint64_t end = request.offset + request.length;
  ChildRequests parts(request, blocks.size());
  Gather children(request, blocks.size() + 2);
  uint64_t done = 0;
  for (size_t first = 0; first < blocks.size();) {
    size_t last = first;
    while (last + 1 < blocks.size() && blocks[last + 1].data_block == blocks[last].data_block + 1) {
      ++last;
    }
    const uint64_t begin = std::max(request.offset, blocks[first].block * block_bytes_);
    const uint64_t until = std::min(end, (blocks[last].block + 1) * block_bytes_);
    View part = request.data.slice(static_cast<uint32_t>(done),
                                   static_cast<uint32_t>(until - begin), *request.arena);
    Request& writing =
        parts.add(transfer(request, Op::write, data_offset(blocks[first], begin), std::move(part)));
    children.add(pool_->data().submit(writing));
    done += until - begin;
    first = last + 1;
  }
  const NewBlock& front = blocks.front();
  const NewBlock& back = blocks.back();
  const uint64_t front_begin = front.block * block_bytes_;
  const uint64_t back_end = (back.block + 1) * block_bytes_;
  if (!front.in_place && front_begin < request.offset) {
    children.add(fill_edge(request, front, front_begin, request.offset));
  }
  if (!back.in_place && end < back_end) children.add(fill_edge(request, back, end, back_end));
  co_return co_await children;
}

// With what the volume has there until now.
Task ThinTarget::fill_edge(Request& request, const NewBlock& block, uint64_t begin, uint64_t end) {
  const uint64_t to = data_offset(block, begin);
  if (block.before.is_mapped()) {
    pool_->transaction().numbers().copied.fetch_add(1, std::memory_order_relaxed);
    const uint64_t from = block.before.data_block() * block_bytes_ + begin % block_bytes_;
    return copy_edge(request, pool_->data(), from, to, end - begin, end - begin);
  }
  if (origin_ != nullptr) {
    const uint64_t size = origin_->geometry().size_bytes;
    if (begin < size) return copy_origin(request, begin, to, end - begin);
  }
  if (!pool_->options().zeroes_blocks) return kOk;
  return zero_edge(request, to, end - begin);
}

Task ThinTarget::zero_edge(Request& request, uint64_t to, uint64_t length) {
  Request zeroing = plain(request, Op::write_zeroes, to, length);
  Task zeroed = pool_->data().submit(zeroing);
  co_return co_await zeroed;
}

// Its end may be no whole block of the data device.
Task ThinTarget::copy_origin(Request& request, uint64_t begin, uint64_t to, uint64_t length) {
  const uint64_t there = std::min(length, origin_->geometry().size_bytes - begin);
  const uint64_t unit = pool_->data().geometry().logical_block_bytes;
  const uint64_t copied = std::min(length, (there + unit - 1) / unit * unit);
  Task copying = copy_edge(request, *origin_, begin, to, copied, there);
  if (const Status status = co_await copying; !status.ok() || copied == length) co_return status;
  Task zeroing = zero_edge(request, to + copied, length - copied);
  co_return co_await zeroing;
}

// `from` has the first `there` bytes; the others are zeroes.
Task ThinTarget::copy_edge(Request& request, Target& from, uint64_t from_offset, uint64_t to_offset,
                           uint64_t length, uint64_t there) {
  const Buffer memory(std::min(length, kCopyBytes));
  for (uint64_t done = 0; done < length;) {
    const uint64_t step = std::min(length - done, kCopyBytes);
    const uint64_t read_bytes = std::min(step, there - done);
    std::ranges::fill(memory.bytes().subspan(read_bytes, step - read_bytes), std::byte{0});
    {
      PrivateLoan loan(Direction::destination, memory.bytes().first(read_bytes));
      Request reading = transfer(request, Op::read, from_offset + done, loan.view());
      Task read = from.submit(reading);
      if (const Status status = co_await read; !status.ok()) co_return status;
    }
    PrivateLoan loan(Direction::source, memory.bytes().first(step));
    Request writing = transfer(request, Op::write, to_offset + done, loan.view());
    Task written = pool_->data().submit(writing);
    if (const Status status = co_await written; !status.ok()) co_return status;
    done += step;
  }
  co_return kOk;
}

}  // namespace sluice::thin
