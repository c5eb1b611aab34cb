// Ring: one thread's io_uring with its files and buffer table. Only it submits and resumes.
//
// Owned by a reactor thread and used by it alone, except post(), stop() and abandon(): their
// callers keep the ring alive meanwhile. The loop: submit, wait, collect *all* completions, run
// messages, run the ready list.
//
// Every limit queues, none fails: an operation without an SQE, a CQE or a slot waits its turn.
// KernelRing and the tests' ManualRing implement the io_uring calls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "core/fifo.hpp"
#include "core/ready_list.hpp"
#include "ring/abilities.hpp"
#include "ring/counters.hpp"
#include "ring/deadlines.hpp"
#include "ring/file_slots.hpp"
#include "ring/operation.hpp"
#include "ring/pipe_pool.hpp"
#include "ring/ring_residents.hpp"
#include "ring/slot_wait.hpp"

namespace sluice {

class Ring {
 public:
  using Abilities = RingAbilities;

  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  virtual ~Ring() = default;

  // --- I/O on lent buffers. Offsets and lengths in bytes; EACCES for the wrong direction, EFAULT
  // for a broken view, ENODATA if a file ends before the view is filled.
  Operation read(File file, uint64_t offset, View destination);
  Operation write(File file, uint64_t offset, View source, bool durable = false);  // RWF_DSYNC
  Operation send(File socket, View source, int message_flags = 0);
  Operation send_zc(File socket, View source, int message_flags = 0);
  Operation recv(File socket, View destination);  // ECONNRESET if the peer closes early

  // --- The explicit copy path (P-14): between a lent buffer and memory of the server.
  // EOPNOTSUPP where the lender offers no way to the bytes; EINVAL: `memory` has another length.
  Operation copy_in(View destination, std::span<const std::byte> memory);
  Operation copy_out(View source, std::span<std::byte> memory);
  Operation zero(View destination);

  // --- Without a buffer.
  Operation sync(File file, bool data_only);
  Operation fallocate(File file, int mode, uint64_t offset, uint64_t length);
  Operation discard(File block_device, uint64_t offset, uint64_t length);
  Operation prefetch(File file, uint64_t offset, uint64_t length);  // at most its first GiB
  Operation sleep(std::chrono::nanoseconds duration);

  // --- Slots of the buffer table (P-18). co_await acquire_slot() waits while all are taken.
  SlotWait acquire_slot();
  void release_slot(int slot);
  uint32_t free_slots() const { return static_cast<uint32_t>(free_slots_.size()); }

  // --- The loop.
  void run();  // until stop() is called and nothing is in flight
  void run_once(bool wait);
  void stop();     // any thread
  void abandon();  // any thread: run() returns at once, operations in flight die with the ring
  void post(Message& message);  // any thread

  void submit(Completion& completion);
  bool has_room(uint32_t sqes) const;  // for this many in one submission, as links need
  // Submits `leader`, and `linked_command` for the kernel to start once the leader's result is
  // `leader_result`. There is one CQE: the command's, or the leader's if it ends otherwise. Returns
  // false, and submits nothing, if the kernel or the present room does not allow it.
  bool submit_linked(Completion& leader, LinkedCommand& linked_command, int32_t leader_result);
  void cancel(Completion& completion);  // its result becomes ECANCELED, unless it is done first
  // Cancels at once an operation that still waits for an SQE. False: the kernel has it.
  bool cancel_waiting(Completion& completion);
  // Goes before all others, past the limit on operations in flight: for commands that end others.
  void submit_first(Completion& completion);

  ReadyList& ready() { return ready_; }
  PipePool& pipes() { return pipes_; }  // for piped loans
  Deadlines& deadlines() { return deadlines_; }
  const Abilities& abilities() const { return abilities_; }
  const FileSlots& files() const { return files_; }
  // Registers the file, or none if it is -1. Best effort: FileSlots::find() knows the result.
  virtual void put_file(File slot, int descriptor) = 0;
  const RingCounters& counters() const { return counters_; }
  uint32_t in_flight() const { return in_flight_; }
  bool waiting() const { return !waiting_.empty(); }

  RingResidents& residents() { return residents_; }  // for RingLocal
  const RingResidents& residents() const { return residents_; }
  // Counts a completion in flight that must not keep run() from ending.
  void count_standing() { ++standing_; }
  void end_standing() { --standing_; }
  // Counts a message to come, before which run() must not end (ExternalCount).
  void begin_external() { ++external_; }
  void end_external() { --external_; }

 protected:
  Ring() = default;

  virtual io_uring_sqe* next_sqe() = 0;  // zeroed; null when the submission queue is full
  virtual uint32_t free_sqes() const = 0;
  virtual void enter(bool wait) = 0;  // submits SQEs; with `wait`, until there is a completion
  // Takes available completions; returns their number, at most the size of `batch`.
  virtual uint32_t reap(std::span<Cqe> batch) = 0;
  virtual void wake() = 0;  // makes enter(true) return; any thread

  void set_limits(uint32_t cq_entries, uint32_t slots);
  void set_abilities(const Abilities& abilities) { abilities_ = abilities; }

  RingCounters counters_;
  FileSlots files_;

 private:
  friend class Operation;
  friend class SlotWait;

  bool idle() const;
  bool try_submit(Completion& completion);
  bool submit_now(Completion& completion);
  io_uring_sqe& fill_sqe(io_uring_sqe& sqe, Completion& completion);
  void submit_waiting();
  void collect();
  void run_messages();

  ReadyList ready_;
  Abilities abilities_;
  uint32_t cq_entries_ = 0;
  uint32_t in_flight_ = 0;
  uint32_t standing_ = 0;
  uint32_t external_ = 0;
  Fifo<Completion> first_;    // wait for an SQE: of submit_first() ...
  Fifo<Completion> waiting_;  // ... and of submit()
  std::vector<int> free_slots_;
  PipePool pipes_{counters_};
  Deadlines deadlines_{*this};
  Fifo<SlotWait> slot_waiters_;
  RingResidents residents_;

  std::atomic<Message*> messages_ = nullptr;  // newest first
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> abandoned_ = false;
};

}  // namespace sluice
