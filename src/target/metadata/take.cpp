// Takes a block that is not in the cache, or whose slot is in use, by one wait after another.
#include <fmt/format.h>

#include <cassert>

#include "core/private_loan.hpp"
#include "target/metadata/metadata_cache.hpp"

namespace sluice {

using Outcome = BlockWaiter::Outcome;

// --- Waits. The reason to wait is checked under the mutex, once the coroutine is parked.

// Waits for one block.
class MetadataCache::Look final : public BlockWaiter {
 public:
  Look(MetadataCache& cache, Ring& ring, uint64_t block, How way)
      : BlockWaiter(ring), number(block), how(way), cache_(cache) {}

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    park(coroutine);
    cache_.look(*this);
  }
  // The resuming thread holds the mutex until it no longer uses our ring.
  void await_resume() const { const std::scoped_lock guard(cache_.state_.mutex); }

  const uint64_t number;
  const How how;
  uint32_t buffer = 0;

 private:
  MetadataCache& cache_;
};

// Waits for any slot. One at a time, under room_.
class MetadataCache::RoomLook final : public BlockWaiter {
 public:
  RoomLook(MetadataCache& cache, Ring& ring, uint64_t block)
      : BlockWaiter(ring), number(block), cache_(cache) {}

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    park(coroutine);
    cache_.look_for_room(*this);
  }
  void await_resume() const { const std::scoped_lock guard(cache_.state_.mutex); }

  const uint64_t number;

 private:
  MetadataCache& cache_;
};

Task MetadataCache::read_slowly(Request& request, uint64_t number, ReadPin& pin) {
  Grip grip;
  Task taking = take(request, number, How::read, grip);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  pin.cache_ = this;
  pin.ring_ = request.ring;
  pin.slot_ = grip.slot;
  pin.buffer_ = grip.buffer;
  co_return kOk;
}

Task MetadataCache::write_slowly(Request& request, uint64_t number, How how, WritePin& pin) {
  Grip grip;
  Task taking = take(request, number, how, grip);
  const Status taken = co_await taking;
  if (taken.ok()) prepare(request, grip, how, pin);
  co_return taken;
}

Task MetadataCache::take(Request& request, uint64_t number, How how, Grip& grip) {
  if (number >= blocks_on_child()) co_return Status::from_errno(EINVAL);
  for (;;) {
    Look looking(*this, *request.ring, number, how);
    co_await looking;
    if (looking.outcome == Outcome::look_again) continue;
    if (looking.outcome == Outcome::failed) {
      if (how == How::fresh) continue;  // the contents that could not be read are not needed
      co_return looking.status;
    }
    if (looking.outcome == Outcome::taken) {
      grip.slot = looking.slot;
      grip.buffer = how == How::read ? looking.buffer : 1 - looking.slot->pins.current();
      grip.slot->hits.fetch_add(1, std::memory_order_relaxed);
      co_return kOk;
    }
    CachedBlock* claimed = nullptr;
    Task claiming = claim(request, number, claimed);
    const Status status = co_await claiming;
    if (!status.ok()) co_return status;
    if (claimed == nullptr) continue;  // another coroutine has brought it
    Task filling = fill(request, number, how, *claimed, grip);
    co_return co_await filling;
  }
}

void MetadataCache::look(Look& look) {
  const std::scoped_lock guard(state_.mutex);
  CachedBlock* const slot = state_.store.find(look.number);
  if (slot == nullptr) {
    look.outcome = Outcome::absent;
    look.resume_here();
    return;
  }
  if (slot->state == CachedBlock::State::present) {
    const bool taken =
        look.how == How::read
            ? slot->pins.try_read(look.buffer)
            : slot->waiting_writers.empty() && slot->pins.write_or_await() == PinWord::Taken::yes;
    if (taken) {
      look.outcome = Outcome::taken;
      look.slot = slot;
      slot->used.store(true, std::memory_order_relaxed);
      look.resume_here();
      return;
    }
    assert(look.how != How::read && "what is present can be read");
    slot->waiting_writers.push(look);
  } else {
    slot->waiting_for_fill.push(look);
  }
  state_.waits.fetch_add(1, std::memory_order_relaxed);
}

// One coroutine at a time, in order of arrival.
Task MetadataCache::claim(Request& request, uint64_t number, CachedBlock*& claimed) {
  AsyncMutex::Hold hold(room_, *request.ring);
  co_await hold;
  Status cleaned;
  for (;;) {
    RoomLook looking(*this, *request.ring, number);
    co_await looking;
    switch (looking.outcome) {
      case Outcome::taken:
        claimed = looking.slot;
        misses_.fetch_add(1, std::memory_order_relaxed);
        co_return kOk;
      case Outcome::present:
      case Outcome::absent:
        co_return kOk;
      case Outcome::failed:
        co_return looking.status;
      case Outcome::look_again:
        continue;
      case Outcome::must_clean:
        break;
    }
    if (!cleaned.ok()) co_return cleaned;
    Task cleaning = write_back_.make_room(request);
    cleaned = co_await cleaning;
  }
}

// The flag is set before the slots are searched, so any later release of a slot sees it. Once a
// flush has failed, blocks evicted before may be lost, and the child may have an older version.
void MetadataCache::look_for_room(RoomLook& look) {
  const std::scoped_lock guard(state_.mutex);
  state_.room_wanted = true;
  if (state_.store.find(look.number) != nullptr) {
    look.outcome = Outcome::present;
  } else if (state_.dead) {
    look.outcome = Outcome::failed;
    look.status = Status::from_errno(EIO);
  } else {
    look.slot =
        state_.store.claim(look.number, state_.dirty.next_version(), state_.dirty.flushes().next);
    look.outcome = look.slot != nullptr ? Outcome::taken : without_room(look);
  }
  if (look.outcome == Outcome::look_again) {
    state_.room_waiter = &look;
    state_.waits.fetch_add(1, std::memory_order_relaxed);
  } else {
    state_.room_wanted = false;
    look.resume_here();
  }
}

// Slots in use are released eventually, and blocks that are being written become clean.
Outcome MetadataCache::without_room(RoomLook& look) {
  const DirtyBlocks::Unused unused = state_.dirty.unused();
  if (unused.can_clean) return Outcome::must_clean;
  if (state_.dirty.any_in_flight()) return Outcome::look_again;
  look.status = unused.failure;
  return look.status.ok() ? Outcome::look_again : Outcome::failed;
}

Task MetadataCache::fill(Request& request, uint64_t number, How how, CachedBlock& slot,
                         Grip& grip) {
  grip.slot = &slot;
  grip.fills = how == How::fresh;
  if (grip.fills) co_return kOk;  // invisible to others until it is published
  Task reading = read_child(request, number, slot);
  Status read = co_await reading;
  if (read.ok() && is_dead()) read = Status::from_errno(EIO);
  if (!read.ok()) {
    give_up(slot, read, *request.ring);
    co_return read;
  }
  open(slot, how, *request.ring);
  grip.buffer = how == How::read ? 0 : 1;
  co_return kOk;
}

// Bytes that the child does not fill would be old contents of another block (P-8).
Task MetadataCache::read_child(Request& request, uint64_t number, CachedBlock& slot) {
  PrivateLoan loan(Direction::destination, slot.buffers[0]);
  Request reading = request.child(number * options_.block_bytes, loan.view());
  reading.op = Op::read;
  reading.fua = false;
  Task serving = child_.submit(reading);
  const Status status = co_await serving;
  if (!status.ok()) co_return status;
  if (reading.data.loan()->filled_bytes() != options_.block_bytes) {
    co_return Status::from_errno(EIO);
  }
  if (options_.seal == nullptr || options_.seal->verify(number, slot.buffers[0])) co_return kOk;
  log_.report(reading, EILSEQ, fmt::format("block {} is damaged or none of this format", number));
  co_return Status::from_errno(EILSEQ);
}

bool MetadataCache::is_dead() {
  const std::scoped_lock guard(state_.mutex);
  return state_.dead;
}

// Sets the first pin at once, so that the block cannot be evicted before its reader has it.
void MetadataCache::open(CachedBlock& slot, How how, Ring& here) {
  const std::scoped_lock guard(state_.mutex);
  slot.state = CachedBlock::State::present;
  if (how == How::read) {
    slot.pins.open_for_reader();
  } else {
    slot.pins.open_for_writer();
  }
  CacheState::end_filling(slot, kOk, here);
}

void MetadataCache::give_up(CachedBlock& slot, Status status, Ring& here) {
  const std::scoped_lock guard(state_.mutex);
  CacheState::end_filling(slot, status, here);
  state_.store.give_up(slot);
  state_.offer_room(here);
}

}  // namespace sluice
