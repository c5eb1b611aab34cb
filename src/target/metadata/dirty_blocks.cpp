#include "target/metadata/dirty_blocks.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace sluice {
namespace {

// A longer search for a cycle is given up, since it holds the mutex.
constexpr int kVisitsMax = 256;

}  // namespace

BlockVersion DirtyBlocks::publish(CachedBlock& slot) {
  set_failure(slot, kOk);
  slot.published = next_version();
  if (slot.dirty_since == 0) {
    slot.dirty_since = slot.published;
    append(slot);
  }
  return {.slot = &slot, .number = slot.published};
}

bool DirtyBlocks::add_order(CachedBlock& slot, BlockVersion before) {
  const uint64_t flush = flush_for(before);
  if (flush != 0 && flush <= flushes_.succeeded) return true;
  if (waited_for(slot)) return false;
  if (flush != 0) {
    slot.after_flush = std::max(slot.after_flush, flush);
    return true;
  }
  if (leads_to(*before.slot, slot)) return false;
  settle(slot);
  const auto orders = std::span(slot.after).first(slot.after_count);
  const auto same = std::ranges::find(orders, before.slot, &BlockVersion::slot);
  if (same != orders.end()) {
    same->number = std::max(same->number, before.number);
    return true;
  }
  if (slot.after_count == CachedBlock::kOrdersMax) return false;
  slot.after[slot.after_count++] = before;
  return true;
}

bool DirtyBlocks::add_data_order(CachedBlock& slot) {
  if (waited_for(slot)) return false;
  (separate_data_ ? slot.after_data : slot.after_flush) = data_flushes().next;
  return true;
}

bool DirtyBlocks::add_child_order(CachedBlock& slot) {
  if (waited_for(slot)) return false;
  slot.after_flush = flushes_.next;
  return true;
}

uint64_t DirtyBlocks::flush_for(BlockVersion version) const {
  const CachedBlock& slot = *version.slot;
  // The block was written before it was evicted.
  if (version.number < slot.filled_at) return slot.filled_in_flush;
  return slot.written >= version.number ? slot.written_in_flush : 0;
}

// Replaces each order whose version is written by the flush that makes it durable. True if no order
// is left.
bool DirtyBlocks::settle(CachedBlock& slot) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < slot.after_count; ++i) {
    const BlockVersion before = slot.after[i];
    if (const uint64_t flush = flush_for(before); flush != 0) {
      slot.after_flush = std::max(slot.after_flush, flush);
    } else {
      slot.after[left++] = before;
    }
  }
  slot.after_count = left;
  return left == 0;
}

// True if `slot` must be written before `from`, or if it would take too long to find out.
bool DirtyBlocks::leads_to(CachedBlock& from, const CachedBlock& slot) {
  ++search_;
  CachedBlock* to_visit = &from;
  to_visit->visited = search_;
  to_visit->next_to_visit = nullptr;
  for (int visits = 0; to_visit != nullptr; ++visits) {
    CachedBlock& here = *to_visit;
    to_visit = here.next_to_visit;
    if (&here == &slot || visits == kVisitsMax) return true;
    settle(here);
    for (const BlockVersion& before : std::span(here.after).first(here.after_count)) {
      CachedBlock& other = *before.slot;
      if (std::exchange(other.visited, search_) == search_) continue;
      other.next_to_visit = std::exchange(to_visit, &other);
    }
  }
  return false;
}

void DirtyBlocks::begin(uint64_t until) {
  assert(!active_);
  active_ = true;
  ++goal_;
  until_ = until;
}

void DirtyBlocks::want(BlockVersion version) {
  if (flush_for(version) == 0) version.slot->goal = goal_;
}

void DirtyBlocks::end() {
  active_ = false;
  until_ = 0;
  ++goal_;
}

uint32_t DirtyBlocks::want_unused(uint32_t most) {
  uint32_t found = 0;
  for (CachedBlock* slot = oldest_; slot != nullptr && found < most; slot = slot->newer) {
    if (!slot->failure.ok() || !PinWord::idle(slot->pins.load())) continue;
    slot->goal = goal_;
    ++found;
  }
  return found;
}

DirtyBlocks::Unused DirtyBlocks::unused() const {
  Unused found;
  for (const CachedBlock* slot = oldest_; slot != nullptr; slot = slot->newer) {
    if (!PinWord::idle(slot->pins.load())) continue;
    if (slot->failure.ok()) return {.can_clean = true};
    found.failure = slot->failure;
  }
  return found;
}

DirtyBlocks::Round DirtyBlocks::take(std::span<CachedBlock*> batch) {
  Round round;
  bool more_wanted = true;
  while (more_wanted && round.count < batch.size()) {
    more_wanted = false;
    CachedBlock* next = nullptr;
    for (CachedBlock* slot = oldest_; slot != nullptr && round.count < batch.size(); slot = next) {
      next = slot->newer;
      if (!wants(*slot) || !judge(*slot, round, more_wanted)) continue;
      remove(*slot);
      slot->writing = true;
      ++in_flight_;
      slot->writing_since = slot->dirty_since;
      slot->dirty_since = slot->goal = 0;  // later versions are not wanted
      batch[round.count++] = slot;
    }
  }
  return round;
}

// True if the block can be written now. Otherwise also wants the blocks that must be written before
// it, and sets `more_wanted` if there are new ones: the search may have passed them.
bool DirtyBlocks::judge(CachedBlock& slot, Round& round, bool& more_wanted) {
  assert(!slot.writing);
  if (!slot.failure.ok()) {
    if (round.failure.ok()) round.failure = slot.failure;
    return false;
  }
  if (!settle(slot)) {
    for (const BlockVersion& before : std::span(slot.after).first(slot.after_count)) {
      CachedBlock& other = *before.slot;
      if (other.writing || wants(other)) continue;
      other.goal = goal_;
      more_wanted = true;
    }
    return false;
  }
  const bool needs_data = separate_data_ && slot.after_data > data_flushes_.succeeded;
  const bool needs_flush = slot.after_flush > flushes_.succeeded;
  round.needs_data |= needs_data;
  round.needs_flush |= needs_flush;
  return !needs_data && !needs_flush;
}

void DirtyBlocks::written(CachedBlock& slot, uint64_t version, Status status) {
  assert(slot.writing);
  slot.writing = false;
  --in_flight_;
  if (status.ok()) {
    slot.written = version;
    slot.written_in_flush = newest_write_ = flushes_.next;
    return;
  }
  if (slot.published == version) {
    set_failure(slot, status);
    slot.goal = goal_;  // so that this round reports the failure
  }
  if (slot.dirty_since == 0) append(slot);
  slot.dirty_since = slot.writing_since;
}

void DirtyBlocks::forgive() {
  for (CachedBlock* slot = oldest_; slot != nullptr; slot = slot->newer) set_failure(*slot, kOk);
}

void DirtyBlocks::set_failure(CachedBlock& slot, Status status) {
  failed_ += (status.ok() ? 0 : 1) - (slot.failure.ok() ? 0 : 1);
  slot.failure = status;
}

void DirtyBlocks::append(CachedBlock& slot) {
  slot.older = newest_;
  slot.newer = nullptr;
  (newest_ == nullptr ? oldest_ : newest_->newer) = &slot;
  newest_ = &slot;
  ++count_;
}

void DirtyBlocks::remove(CachedBlock& slot) {
  (slot.older == nullptr ? oldest_ : slot.older->newer) = slot.newer;
  (slot.newer == nullptr ? newest_ : slot.newer->older) = slot.older;
  slot.older = slot.newer = nullptr;
  --count_;
}

}  // namespace sluice
