#include "target/metadata/write_back.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <optional>
#include <tuple>

#include "core/child_requests.hpp"

namespace sluice {

WriteBack::WriteBack(Target& child, CacheState& state, const Options& options)
    : child_(child),
      state_(state),
      options_(options),
      memory_(size_t{options.block_bytes} * options.writes_in_flight) {
  std::ranges::fill(memory_.bytes(), std::byte{0});  // makes the pages resident
  for (uint32_t i = 0; i < options.writes_in_flight; ++i) {
    desks_.emplace_back(
        memory_.bytes().subspan(size_t{i} * options.block_bytes, options.block_bytes));
  }
}

Task WriteBack::flush(Request& request) {
  uint64_t now = 0;
  {
    const std::scoped_lock guard(state_.mutex);
    now = state_.dirty.newest_version();
  }
  return flush_until(request, now);
}

// Blocks that a failure keeps back do not prevent the flush of the others.
Task WriteBack::flush_until(Request& request, uint64_t until) {
  AsyncMutex::Hold hold(round_, *request.ring);
  co_await hold;
  {
    const std::scoped_lock guard(state_.mutex);
    state_.dirty.begin(until);
  }
  Task writing = write_wanted(request);
  const Status written = co_await writing;
  uint64_t last = 0;
  {
    const std::scoped_lock guard(state_.mutex);
    state_.dirty.end();
    last = state_.dirty.flush_for_all();
    if (last <= state_.dirty.flushes().succeeded) co_return written;
  }
  Task flushing = flush_child(request);
  const Status flushed = co_await flushing;
  co_return written.ok() ? flushed : written;
}

Task WriteBack::make_durable(Request& request, BlockVersion version) {
  {
    const std::scoped_lock guard(state_.mutex);
    const uint64_t flush = state_.dirty.flush_for(version);
    if (flush != 0 && flush <= state_.dirty.flushes().succeeded) return kOk;
  }
  return wait_durable(request, version);
}

// If a write fails and the block has been published again meanwhile, it is tried again.
Task WriteBack::wait_durable(Request& request, BlockVersion version) {
  AsyncMutex::Hold hold(round_, *request.ring);
  co_await hold;
  for (;;) {
    uint64_t flush = 0;
    {
      const std::scoped_lock guard(state_.mutex);
      flush = state_.dirty.flush_for(version);
      if (flush != 0 && flush <= state_.dirty.flushes().succeeded) co_return kOk;
      state_.dirty.begin(0);
      state_.dirty.want(version);
    }
    Task writing = write_wanted(request);
    const Status written = co_await writing;
    {
      const std::scoped_lock guard(state_.mutex);
      state_.dirty.end();
    }
    if (!written.ok()) co_return written;
    if (flush == 0) continue;
    Task flushing = flush_child(request);
    const Status flushed = co_await flushing;
    if (!flushed.ok()) co_return flushed;
  }
}

// Those who wait at the same time share a flush.
Task WriteBack::make_data_durable(Request& request) {
  uint64_t wanted = 0;
  {
    const std::scoped_lock guard(state_.mutex);
    wanted = state_.dirty.data_flushes().next;
  }
  AsyncMutex::Hold hold(round_, *request.ring);
  co_await hold;
  {
    const std::scoped_lock guard(state_.mutex);
    if (state_.dirty.data_flushes().succeeded >= wanted) co_return kOk;
  }
  Task flushing = options_.data != nullptr ? flush_data(request) : flush_child(request);
  co_return co_await flushing;
}

Task WriteBack::make_child_durable(Request& request) {
  AsyncMutex::Hold hold(round_, *request.ring);
  co_await hold;
  Task flushing = flush_child(request);
  co_return co_await flushing;
}

Task WriteBack::make_room(Request& request) {
  AsyncMutex::Hold hold(round_, *request.ring);
  co_await hold;
  {
    const std::scoped_lock guard(state_.mutex);
    state_.dirty.begin(0);
    state_.dirty.want_unused(options_.writes_in_flight);
  }
  Task writing = write_wanted(request);
  const Status written = co_await writing;
  {
    const std::scoped_lock guard(state_.mutex);
    state_.dirty.end();
  }
  co_return written;
}

Task WriteBack::write_wanted(Request& request) {
  for (;;) {
    const DirtyBlocks::Round round = take_batch();
    if (round.count != 0) {
      Task writing = write_batch(request, round.count);
      std::ignore = co_await writing;  // each block has its own status
      continue;
    }
    if (!round.needs_data && !round.needs_flush) co_return round.failure;
    Task flushing = round.needs_data ? flush_data(request) : flush_child(request);
    const Status flushed = co_await flushing;
    if (!flushed.ok()) co_return flushed;
  }
}

// Reads the version and pins the buffer under one lock, so that the copy matches its version.
DirtyBlocks::Round WriteBack::take_batch() {
  std::array<CachedBlock*, kWritesMax> batch{};
  const std::scoped_lock guard(state_.mutex);
  if (state_.dead) return {.failure = Status::from_errno(EIO)};
  const DirtyBlocks::Round round = state_.dirty.take(std::span(batch).first(desks_.size()));
  for (uint32_t i = 0; i < round.count; ++i) {
    Desk& desk = desks_[i];
    desk.slot = batch[i];
    desk.version = desk.slot->published;
    const bool pinned = desk.slot->pins.try_read(desk.buffer);
    assert(pinned && "a dirty block stays");
  }
  return round;
}

Task WriteBack::write_batch(Request& request, uint32_t count) {
  ChildRequests parts(request, count);
  std::array<std::optional<Task>, kWritesMax> writing;
  for (uint32_t i = 0; i < count; ++i) {
    Desk& desk = desks_[i];
    copy_to_desk(desk, *request.ring);
    Request part = request.child(
        desk.slot->number.load(std::memory_order_relaxed) * options_.block_bytes, desk.loan.view());
    part.op = Op::write;
    part.fua = false;
    writing[i].emplace(child_.submit(parts.add(std::move(part))));
  }
  for (uint32_t i = 0; i < count; ++i) {
    const Status written = co_await *writing[i];
    writing[i].reset();
    end_writing(desks_[i], written, *request.ring);
  }
  co_return kOk;
}

void WriteBack::copy_to_desk(Desk& desk, Ring& here) {
  CachedBlock& slot = *desk.slot;
  std::ranges::copy(slot.buffers[desk.buffer], desk.bytes.begin());
  state_.let_go(slot, slot.pins.end_read(desk.buffer), here);
  if (options_.seal == nullptr) return;
  options_.seal->seal(slot.number.load(std::memory_order_relaxed), desk.bytes);
}

void WriteBack::end_writing(Desk& desk, Status status, Ring& here) {
  writes_.fetch_add(1, std::memory_order_relaxed);
  const std::scoped_lock guard(state_.mutex);
  state_.dirty.written(*desk.slot, desk.version, status);
  state_.let_go_locked(*desk.slot, here);
}

Task WriteBack::flush_child(Request& request) {
  return flush_target(request, child_, state_.dirty.flushes(), flushes_);
}

Task WriteBack::flush_data(Request& request) {
  return flush_target(request, *options_.data, state_.dirty.data_flushes(), data_flushes_);
}

Task WriteBack::flush_target(Request& request, Target& target, DirtyBlocks::Flushes& flushes,
                             std::atomic<uint64_t>& counter) {
  uint64_t number = 0;
  {
    const std::scoped_lock guard(state_.mutex);
    if (state_.dead) co_return Status::from_errno(EIO);
    number = flushes.begin();
  }
  counter.fetch_add(1, std::memory_order_relaxed);
  Request flush = request.child(0, uint64_t{0});
  flush.op = Op::flush;
  flush.fua = false;
  Task serving = target.submit(flush);
  const Status flushed = co_await serving;
  {
    const std::scoped_lock guard(state_.mutex);
    if (flushed.ok()) flushes.succeeded = number;
    if (!flushed.ok()) state_.dead = true;
  }
  co_return flushed;
}

}  // namespace sluice
