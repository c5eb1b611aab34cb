// CacheState: the state that the parts of a metadata cache share, and its one mutex.
//
// The mutex is held for a few steps at a time, never across I/O or a wait.
#pragma once

#include <atomic>
#include <mutex>
#include <utility>

#include "core/request.hpp"
#include "ring/parked.hpp"
#include "target/metadata/block_store.hpp"
#include "target/metadata/dirty_blocks.hpp"

namespace sluice {

// A coroutine that waits to be the writer of a slot, for a slot to be filled, or for any free slot.
struct BlockWaiter : Parked {
  using Parked::Parked;

  enum class Outcome : uint8_t { look_again, taken, present, absent, must_clean, failed };
  Outcome outcome = Outcome::look_again;
  CachedBlock* slot = nullptr;
  Status status;

 protected:
  ~BlockWaiter() = default;
};

struct CacheState {
  CacheState(uint32_t block_bytes, uint32_t blocks, bool resident, bool separate_data)
      : store(block_bytes, blocks, resident), dirty(separate_data) {}

  std::mutex mutex;
  BlockStore store;   // guarded, but for glimpse()
  DirtyBlocks dirty;  // guarded
  bool dead = false;  // guarded: a flush has failed, no more writes

  // The coroutine that waits until any slot may be free. Guarded. The flag is checked without the
  // mutex after each release of a slot, and set before the slots are searched, so that no release
  // is missed.
  BlockWaiter* room_waiter = nullptr;
  std::atomic<bool> room_wanted = false;

  std::atomic<uint64_t> waits = 0;

  // Called after a release of the slot, which left `word`: resumes the coroutine that waited for
  // it. Takes the mutex only if there is one. `here`: the ring of the calling thread.
  void let_go(CachedBlock& slot, PinWord::Word word, Ring& here) {
    const bool room = PinWord::idle(word) && room_wanted.load();
    if (!room && !PinWord::lets_writer_in(word)) return;
    const std::scoped_lock guard(mutex);
    let_go_locked(slot, here);
  }
  void let_go_locked(CachedBlock& slot, Ring& here) {
    hand_to_writer(slot, here);
    if (PinWord::idle(slot.pins.load())) offer_room(here);
  }
  // Called when a slot is free or clean, or when one more may be cleaned.
  void offer_room(Ring& here) {
    if (room_waiter == nullptr) return;
    room_wanted = false;
    std::exchange(room_waiter, nullptr)->resume(here);
  }
  // Resumes all coroutines that wait for the slot to be filled.
  static void end_filling(CachedBlock& slot, Status status, Ring& here) {
    while (Parked* const parked = slot.waiting_for_fill.pop()) {
      auto* const waiter = static_cast<BlockWaiter*>(parked);
      waiter->status = status;
      waiter->outcome =
          status.ok() ? BlockWaiter::Outcome::look_again : BlockWaiter::Outcome::failed;
      waiter->resume(here);
    }
  }

 private:
  static void hand_to_writer(CachedBlock& slot, Ring& here) {
    if (slot.waiting_writers.empty()) return;
    if (slot.pins.write_or_await() != PinWord::Taken::yes) return;
    auto* const waiter = static_cast<BlockWaiter*>(slot.waiting_writers.pop());
    if (slot.waiting_writers.empty()) slot.pins.nobody_waits();
    waiter->outcome = BlockWaiter::Outcome::taken;
    waiter->slot = &slot;
    waiter->resume(here);
  }
};

}  // namespace sluice
