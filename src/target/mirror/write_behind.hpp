// WriteBehind: writes that some legs of a mirror get after they were acknowledged, in memory.
//
// A client's flush divides them: what comes after it goes to a leg only when what came before is
// durable there. So a leg has at any moment what a disk could have had when its power was cut. The
// bits of the regions are the durable form: they are not cleared before the leg has the writes.
// A leg that fails leaves like any other, and what it has not got is dropped.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "ring/completion.hpp"
#include "ring/event.hpp"
#include "target/life/life_call.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::mirror {

class Mirror::WriteBehind final : private Message {
 public:
  // `ring`: that of the control reactor. `bytes`: of the data that may wait.
  WriteBehind(Mirror& mirror, Ring& ring, size_t bytes);
  ~WriteBehind();

  // --- Any reactor.
  // A write, whose data is copied; zeroes; or a flush, which divides the others. Waits for room, at
  // most until legs that do not answer have left.
  Task append(Request& request);
  // What is there now has been written, or its legs have left.
  Task drain(Request& request);

  // Any thread.
  bool is_empty() const { return ended_.load() == begun_.load(); }
  uint64_t waiting_bytes() const { return waiting_bytes_; }
  uint64_t copied_bytes() const { return copied_bytes_; }
  uint64_t waits() const { return waits_; }  // for room

  // When no request will come: waits until all has been written, but at most kEndMost; legs that do
  // not have it then leave. Nothing runs afterwards.
  Task end(Request& request);

 private:
  static constexpr std::chrono::seconds kEndMost{4};  // less than `sluice del` waits
  static constexpr size_t kEntries = 16384;
  static constexpr size_t kBatch = 32;  // writes at once, and their bytes
  static constexpr size_t kBatchBytes = 4 << 20;

  struct Entry {
    Op op = Op::flush;
    bool fua = false;
    bool may_unmap = false;
    bool ready = false;
    uint64_t offset = 0;
    uint64_t length = 0;
    size_t data = 0;   // bytes
    size_t place = 0;  // of them in the memory
    size_t taken = 0;  // bytes there, with what is left unused before
  };

  Task append_piece(Request& request);
  Entry& entry(uint64_t number) { return entries_[number % kEntries]; }
  bool reserve(const Request& request, uint64_t& number);
  void make_ready(uint64_t number);
  void run() override;
  Service send();
  size_t next_batch();
  bool is_apart(const Entry& next, size_t count);
  Task send_batch(Request& request, size_t count);
  Task send_entry(Request& request, const Entry& sent, LegSet& failed);
  Task flush_legs(Request& request, LegSet& failed);
  void release(size_t count);
  bool is_sending();

  Mirror& mirror_;
  Ring& ring_;
  const size_t bytes_;
  const size_t piece_bytes_;  // of an entry, at most
  const std::unique_ptr<std::byte[]> memory_;
  const std::unique_ptr<Entry[]> entries_;
  LifeRequest life_;  // of the coroutine that sends
  Event progress_;

  std::mutex mutex_;  // guards the entries between ended_ and begun_, and all up to the next blank
  size_t used_ = 0;   // bytes of the memory
  size_t end_ = 0;    // where the next data goes, if there is room
  bool sending_ = false;

  std::atomic<uint64_t> begun_ = 0;  // entries so far; changed with the mutex, as the next
  std::atomic<uint64_t> ended_ = 0;
  std::atomic<uint64_t> waiting_bytes_ = 0;
  std::atomic<uint64_t> copied_bytes_ = 0;
  std::atomic<uint64_t> waits_ = 0;
};

}  // namespace sluice::mirror
