// MetadataCache: caches the metadata blocks of a format between the coroutines of all queues and a
// child target.
//
// It has a fixed size, is shared by several reactors, and is written back in the order that its
// users declare. A cached block is pinned by one compare-and-swap, without a lock, a wait or an
// allocation. For any other block the coroutine waits, in order of arrival, until a slot is free or
// has been cleaned, and then for the child. All memory is allocated at creation, and making room
// needs no other block.
//
// Each block has two buffers, so that readers see the published version while one writer prepares
// the next; a copy is written to the child. Blocks are written only when necessary: for flush(),
// for make_durable(), or to make room.
//
// A user may hold several pins while it takes another one. The number of pins that all users
// together can hold at one time must be smaller than the number of blocks; otherwise they may
// deadlock.
//
// An order says what must be durable before any later version of a block is written. Declare it
// after the block is taken for writing and before it is published.
#pragma once

#include <memory>
#include <string>

#include "target/error_log.hpp"
#include "target/metadata/block_pins.hpp"
#include "target/metadata/write_back.hpp"

namespace sluice {

class MetadataCache {
 public:
  static constexpr uint32_t kBlockBytesMin = 512;
  static constexpr uint32_t kBlockBytesMax = 64 << 10;
  static constexpr uint32_t kBlocksMin = 2;

  struct Options {
    std::string name = "metadata";    // for the log
    uint32_t block_bytes = 4096;      // a power of two, whole blocks of the child
    uint32_t blocks = 1024;           // capacity; each takes twice its size
    bool resident = true;             // touch all memory now; false: as blocks come
    uint32_t writes_in_flight = 8;    // 1 to WriteBack::kWritesMax, each with one more buffer
    Target* data = nullptr;           // its flush makes data durable; null: the child's does
    const BlockSeal* seal = nullptr;  // outlives the cache, as do the targets
  };
  struct Stats {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t evictions = 0;
    uint64_t writes = 0;        // of blocks, failed ones included
    uint64_t flushes = 0;       // of the child
    uint64_t data_flushes = 0;  // of the data, if separate
    uint64_t waits = 0;         // for a slot, a writer or a read in progress
    uint64_t dirty = 0;         // blocks now
    uint64_t pinned = 0;        // likewise
  };

  // EINVAL: sizes out of range. Allocates all memory.
  static Result<std::unique_ptr<MetadataCache>> create(Target& child, const Options& options);
  MetadataCache(const MetadataCache&) = delete;
  MetadataCache& operator=(const MetadataCache&) = delete;
  // No pins are held or awaited. Dirty blocks are dropped: call flush() before.
  ~MetadataCache();

  // --- Pins. `number`: counted in blocks from the child's beginning. The pin must not be held
  // before; it is held afterwards, unless there is an error. EINVAL: beyond the child; EILSEQ: not
  // a block of the format; EIO: a flush has failed, and blocks that are not in the cache may be
  // lost; or the child's error, also if there is no room because no block can be written.
  Task read(Request& request, uint64_t number, ReadPin& pin);
  bool try_read(Request& request, uint64_t number, ReadPin& pin);  // false: it would have to wait
  Task write(Request& request, uint64_t number, WritePin& pin);
  // The same, with zeroes instead of the contents on the child, which are not read.
  Task write_new(Request& request, uint64_t number, WritePin& pin);

  // --- Orders. Usually an order is only recorded. If it would form a cycle, is one too many, or
  // would delay a flush() that waits for the block, the version or data that must come first is
  // made durable now. After an error the order does not hold: do not publish.
  Task order_after(Request& request, WritePin& pin, BlockVersion version);
  // The same for all data written until now, as covered by a flush of the data's target.
  Task order_after_data(Request& request, WritePin& pin);
  // The same for all that was written to the child until now without this cache.
  Task order_after_child(Request& request, WritePin& pin);

  // --- Durability. make_durable() is for actions that must wait until the version is on the disk,
  // such as writes that do not go through this cache.
  Task make_durable(Request& request, BlockVersion version);
  // A flush of the data's target: makes all data written before durable. Blocks ordered after that
  // data may then be written. Must be used instead of the target's own flush: if that failed, the
  // cache would not know that data is lost to which such blocks lead.
  Task make_data_durable(Request& request);
  // Makes all versions published before durable. Returns the first error, of this or an earlier
  // attempt; all blocks that could be written are durable nevertheless, unless a flush has failed.
  Task flush(Request& request);

  // Drops blocks whose place is no longer a block of the format, and must not come back when it is
  // one again. False: some are in use, or not written. Any thread; `here`: its ring.
  bool forget(uint64_t first, uint64_t count, Ring& here);

  // True if a block could not be written, which is then not tried again, or if a flush has failed,
  // which ends all writing for good. Any thread.
  bool failed() const;
  // Lets blocks that could not be written be tried again. Any thread.
  void forgive();

  // Any thread. Examines every slot.
  Stats stats() const;
  uint64_t blocks_on_child() const;

 private:
  friend class ReadPin;
  friend class WritePin;
  enum class How : uint8_t { read, write, fresh };
  struct Grip {
    CachedBlock* slot = nullptr;
    uint32_t buffer = 0;
    bool fills = false;
  };
  class Look;
  class RoomLook;

  MetadataCache(Target& child, const Options& options);

  bool try_take(Request& request, uint64_t number, How how, Grip& grip);
  Task read_slowly(Request& request, uint64_t number, ReadPin& pin);
  Task write_as(Request& request, uint64_t number, How how, WritePin& pin);
  Task write_slowly(Request& request, uint64_t number, How how, WritePin& pin);
  void prepare(Request& request, const Grip& grip, How how, WritePin& pin);
  Task take(Request& request, uint64_t number, How how, Grip& grip);
  Task claim(Request& request, uint64_t number, CachedBlock*& claimed);
  void look(Look& look);
  void look_for_room(RoomLook& look);
  BlockWaiter::Outcome without_room(RoomLook& look);
  Task fill(Request& request, uint64_t number, How how, CachedBlock& slot, Grip& grip);
  Task read_child(Request& request, uint64_t number, CachedBlock& slot);
  bool is_dead();
  void open(CachedBlock& slot, How how, Ring& here);
  void give_up(CachedBlock& slot, Status status, Ring& here);
  BlockVersion publish(WritePin& pin);
  void abandon(WritePin& pin);

  Target& child_;
  const Options options_;
  mutable CacheState state_;
  WriteBack write_back_;
  AsyncMutex room_;  // serialises the search for a free slot
  std::atomic<uint64_t> misses_ = 0;
  ErrorLog log_;
};

}  // namespace sluice
