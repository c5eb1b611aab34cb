#include "target/metadata/block_store.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <memory>
#include <new>

namespace sluice {
namespace {

// A chain that changes during the lookup may lead into other chains. After so many steps the caller
// looks the block up with the mutex.
constexpr int kStepsMax = 64;

}  // namespace

BlockStore::BlockStore(uint32_t block_bytes, uint32_t blocks, bool resident)
    : count_(blocks),
      block_bytes_(block_bytes),
      memory_(size_t{block_bytes} * blocks * 2),
      slot_bytes_(sizeof(CachedBlock) * blocks),
      bucket_count_(std::bit_ceil(size_t{blocks})),
      buckets_(std::make_unique<std::atomic<CachedBlock*>[]>(bucket_count_)) {
  if (!resident) return;
  std::ranges::fill(memory_.bytes(), std::byte{0});
  while (made_ < count_) add_empty(make_slot());
}

BlockStore::~BlockStore() { std::ranges::destroy(slots()); }

CachedBlock* BlockStore::slot_at(size_t index) const {
  return reinterpret_cast<CachedBlock*>(slot_bytes_.bytes().data()) + index;
}

CachedBlock& BlockStore::make_slot() {
  CachedBlock& slot = *new (slot_at(made_)) CachedBlock;
  for (size_t i = 0; i < 2; ++i) {
    slot.buffers[i] = memory_.bytes().subspan((made_ * 2 + i) * block_bytes_, block_bytes_);
  }
  ++made_;
  return slot;
}

std::atomic<CachedBlock*>& BlockStore::bucket(uint64_t number) const {
  const uint64_t mixed = number * 0x9E3779B97F4A7C15U;
  return buckets_[(mixed >> 32) & (bucket_count_ - 1)];
}

CachedBlock* BlockStore::find(uint64_t number) const {
  CachedBlock* slot = bucket(number).load(std::memory_order_relaxed);
  while (slot != nullptr && slot->number.load(std::memory_order_relaxed) != number) {
    slot = slot->next.load(std::memory_order_relaxed);
  }
  return slot;
}

CachedBlock* BlockStore::glimpse(uint64_t number) const {
  CachedBlock* slot = bucket(number).load(std::memory_order_acquire);
  for (int steps = 0; slot != nullptr && steps < kStepsMax; ++steps) {
    if (slot->number.load(std::memory_order_acquire) == number) return slot;
    slot = slot->next.load(std::memory_order_acquire);
  }
  return nullptr;
}

CachedBlock* BlockStore::claim(uint64_t number, uint64_t version, uint64_t flush) {
  CachedBlock* slot = empty_;
  if (slot != nullptr) {
    empty_ = slot->newer;
    slot->newer = nullptr;
  } else if (made_ < count_) {
    slot = &make_slot();
  }
  // The first round of the clock spares recently used slots. The second takes any slot that can be
  // evicted, however often it is used meanwhile.
  for (size_t i = 0; slot == nullptr && i < 2 * count_; ++i) {
    CachedBlock& candidate = *slot_at(hand_);
    hand_ = (hand_ + 1) % count_;
    if (i < count_ && candidate.used.exchange(false, std::memory_order_relaxed)) continue;
    if (evict(candidate)) slot = &candidate;
  }
  if (slot == nullptr) return nullptr;
  slot->state = CachedBlock::State::filling;
  slot->filled_at = slot->published = slot->written = version;
  slot->filled_in_flush = slot->written_in_flush = flush;
  slot->failure = kOk;
  slot->goal = 0;
  slot->after_count = 0;
  slot->after_flush = slot->after_data = 0;
  slot->used.store(true, std::memory_order_relaxed);
  insert(*slot, number);
  return slot;
}

bool BlockStore::evict(CachedBlock& slot) {
  if (slot.state != CachedBlock::State::present || slot.dirty_since != 0 || slot.writing ||
      !slot.pins.try_claim()) {
    return false;
  }
  remove(slot);
  ++evictions_;
  return true;
}

void BlockStore::give_up(CachedBlock& slot) {
  assert(slot.state == CachedBlock::State::filling);
  remove(slot);
  add_empty(slot);
}

bool BlockStore::forget(CachedBlock& slot) {
  if (!evict(slot)) return false;
  add_empty(slot);
  return true;
}

void BlockStore::add_empty(CachedBlock& slot) {
  slot.state = CachedBlock::State::empty;
  slot.newer = empty_;
  empty_ = &slot;
}

void BlockStore::insert(CachedBlock& slot, uint64_t number) {
  std::atomic<CachedBlock*>& first = bucket(number);
  slot.number.store(number, std::memory_order_release);
  slot.next.store(first.load(std::memory_order_relaxed), std::memory_order_release);
  first.store(&slot, std::memory_order_release);
}

void BlockStore::remove(CachedBlock& slot) {
  std::atomic<CachedBlock*>* place = &bucket(slot.number.load(std::memory_order_relaxed));
  while (place->load(std::memory_order_relaxed) != &slot) {
    place = &place->load(std::memory_order_relaxed)->next;
  }
  place->store(slot.next.load(std::memory_order_relaxed), std::memory_order_release);
  slot.number.store(CachedBlock::kNone, std::memory_order_release);
}

}  // namespace sluice
