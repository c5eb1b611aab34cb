#include "target/metadata/metadata_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>

namespace sluice {

Result<std::unique_ptr<MetadataCache>> MetadataCache::create(Target& child,
                                                             const Options& options) {
  const Geometry& below = child.geometry();
  const uint32_t bytes = options.block_bytes;
  if (!std::has_single_bit(bytes) || bytes < kBlockBytesMin || bytes > kBlockBytesMax ||
      bytes % below.logical_block_bytes != 0) {
    return fail(EINVAL,
                fmt::format("blocks of {} bytes cannot be cached: they must be a power of two from "
                            "{} to {}, and whole blocks of what they lie on, which are of {}",
                            bytes, kBlockBytesMin, kBlockBytesMax, below.logical_block_bytes));
  }
  if (options.blocks < kBlocksMin || options.writes_in_flight == 0 ||
      options.writes_in_flight > WriteBack::kWritesMax) {
    return fail(EINVAL, fmt::format("a cache of {} blocks that writes {} at a time cannot be: it "
                                    "takes {} blocks at least, and writes 1 to {}",
                                    options.blocks, options.writes_in_flight, kBlocksMin,
                                    WriteBack::kWritesMax));
  }
  return std::unique_ptr<MetadataCache>(new MetadataCache(child, options));
}

MetadataCache::MetadataCache(Target& child, const Options& options)
    : child_(child),
      options_(options),
      state_(options.block_bytes, options.blocks, options.resident, options.data != nullptr),
      write_back_(child, state_,
                  {.block_bytes = options.block_bytes,
                   .writes_in_flight = options.writes_in_flight,
                   .data = options.data,
                   .seal = options.seal}),
      log_(options.name) {}

MetadataCache::~MetadataCache() {
  assert(state_.room_waiter == nullptr && "a cache outlives those who wait for it");
  for (const CachedBlock& slot : state_.store.slots()) {
    assert(PinWord::idle(slot.pins.load()) && slot.state != CachedBlock::State::filling &&
           "a cache outlives its pins");
  }
}

uint64_t MetadataCache::blocks_on_child() const {
  return child_.geometry().size_bytes / options_.block_bytes;
}

// --- Taking a cached block; all other cases are in take.cpp.

Task MetadataCache::read(Request& request, uint64_t number, ReadPin& pin) {
  if (try_read(request, number, pin)) return kOk;
  return read_slowly(request, number, pin);
}

bool MetadataCache::try_read(Request& request, uint64_t number, ReadPin& pin) {
  assert(!pin.held());
  Grip grip;
  if (!try_take(request, number, How::read, grip)) return false;
  pin.cache_ = this;
  pin.ring_ = request.ring;
  pin.slot_ = grip.slot;
  pin.buffer_ = grip.buffer;
  return true;
}

Task MetadataCache::write(Request& request, uint64_t number, WritePin& pin) {
  return write_as(request, number, How::write, pin);
}

Task MetadataCache::write_new(Request& request, uint64_t number, WritePin& pin) {
  return write_as(request, number, How::fresh, pin);
}

Task MetadataCache::write_as(Request& request, uint64_t number, How how, WritePin& pin) {
  assert(!pin.held());
  Grip grip;
  if (!try_take(request, number, how, grip)) return write_slowly(request, number, how, pin);
  prepare(request, grip, how, pin);
  return kOk;
}

// The slot may have got another block before it was pinned, but cannot afterwards.
bool MetadataCache::try_take(Request& request, uint64_t number, How how, Grip& grip) {
  CachedBlock* const slot = state_.store.glimpse(number);
  if (slot == nullptr) return false;
  const bool reads = how == How::read;
  uint32_t buffer = 0;
  if (reads ? !slot->pins.try_read(buffer) : slot->pins.try_write() != PinWord::Taken::yes) {
    return false;
  }
  if (slot->number.load(std::memory_order_acquire) != number) {
    const auto left = reads ? slot->pins.end_read(buffer) : slot->pins.end_write(false);
    state_.let_go(*slot, left, *request.ring);
    return false;
  }
  slot->hits.fetch_add(1, std::memory_order_relaxed);
  if (!slot->used.load(std::memory_order_relaxed)) {
    slot->used.store(true, std::memory_order_relaxed);
  }
  grip.slot = slot;
  grip.buffer = reads ? buffer : 1 - slot->pins.current();
  return true;
}

void MetadataCache::prepare(Request& request, const Grip& grip, How how, WritePin& pin) {
  pin.cache_ = this;
  pin.ring_ = request.ring;
  pin.slot_ = grip.slot;
  pin.buffer_ = grip.buffer;
  pin.fills_ = grip.fills;
  if (how == How::fresh) {
    std::ranges::fill(pin.bytes(), std::byte{0});
  } else {
    std::ranges::copy(grip.slot->buffers[1 - grip.buffer], pin.bytes().begin());
  }
}

// --- Releasing a block.

BlockVersion MetadataCache::publish(WritePin& pin) {
  CachedBlock& slot = *std::exchange(pin.slot_, nullptr);
  const std::scoped_lock guard(state_.mutex);
  if (pin.fills_) {
    slot.state = CachedBlock::State::present;
    slot.pins.open_for_nobody();
    CacheState::end_filling(slot, kOk, *pin.ring_);
  } else {
    slot.pins.end_write(true);
  }
  const BlockVersion version = state_.dirty.publish(slot);
  state_.let_go_locked(slot, *pin.ring_);
  return version;
}

void MetadataCache::abandon(WritePin& pin) {
  CachedBlock& slot = *std::exchange(pin.slot_, nullptr);
  if (pin.fills_) {
    give_up(slot, kOk, *pin.ring_);
  } else {
    state_.let_go(slot, slot.pins.end_write(false), *pin.ring_);
  }
}

// --- The order on the disk.

Task MetadataCache::order_after(Request& request, WritePin& pin, BlockVersion version) {
  assert(pin.held() && version.slot != nullptr);
  {
    const std::scoped_lock guard(state_.mutex);
    if (state_.dirty.add_order(*pin.slot_, version)) return kOk;
  }
  return write_back_.make_durable(request, version);
}

Task MetadataCache::order_after_data(Request& request, WritePin& pin) {
  assert(pin.held());
  {
    const std::scoped_lock guard(state_.mutex);
    if (state_.dirty.add_data_order(*pin.slot_)) return kOk;
  }
  return write_back_.make_data_durable(request);
}

Task MetadataCache::order_after_child(Request& request, WritePin& pin) {
  assert(pin.held());
  {
    const std::scoped_lock guard(state_.mutex);
    if (state_.dirty.add_child_order(*pin.slot_)) return kOk;
  }
  return write_back_.make_child_durable(request);
}

Task MetadataCache::make_durable(Request& request, BlockVersion version) {
  assert(version.slot != nullptr);
  return write_back_.make_durable(request, version);
}

Task MetadataCache::make_data_durable(Request& request) {
  return write_back_.make_data_durable(request);
}

Task MetadataCache::flush(Request& request) { return write_back_.flush(request); }

bool MetadataCache::failed() const {
  const std::scoped_lock guard(state_.mutex);
  return state_.dead || state_.dirty.any_failed();
}

void MetadataCache::forgive() {
  const std::scoped_lock guard(state_.mutex);
  state_.dirty.forgive();
}

bool MetadataCache::forget(uint64_t first, uint64_t count, Ring& here) {
  const std::scoped_lock guard(state_.mutex);
  bool all = true;
  for (uint64_t number = first; number < first + count; ++number) {
    CachedBlock* const slot = state_.store.find(number);
    if (slot == nullptr) continue;
    if (state_.store.forget(*slot)) {
      state_.offer_room(here);
    } else {
      all = false;
    }
  }
  return all;
}

MetadataCache::Stats MetadataCache::stats() const {
  Stats stats{.misses = misses_.load(std::memory_order_relaxed),
              .writes = write_back_.writes(),
              .flushes = write_back_.flushes(),
              .data_flushes = write_back_.data_flushes(),
              .waits = state_.waits.load(std::memory_order_relaxed)};
  const std::scoped_lock guard(state_.mutex);
  stats.dirty = state_.dirty.count();
  stats.evictions = state_.store.evictions();
  for (const CachedBlock& slot : state_.store.slots()) {
    stats.hits += slot.hits.load(std::memory_order_relaxed);
    stats.pinned += PinWord::idle(slot.pins.load()) ? 0 : 1;
  }
  return stats;
}

}  // namespace sluice
