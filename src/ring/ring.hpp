// Ring: one thread's io_uring with its registered files and buffer table. Only it submits, resumes.
//
// Owned by a reactor thread and used by it alone, except post(), stop() and abandon(): whoever may
// call these keeps the ring alive until the call has returned. The loop: submit, wait, collect
// *all* completions, run messages, run the ready list.
//
// Every limit queues and none fails: a caller without an SQE, a CQE or a slot waits its turn.
//
// This class holds all but the io_uring calls: on KernelRing, and on the tests' ManualRing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "core/ready_list.hpp"
#include "ring/counters.hpp"
#include "ring/file_slots.hpp"
#include "ring/operation.hpp"
#include "ring/pipe_pool.hpp"

namespace sluice {

class Ring {
 public:
  // What the kernel under this ring can do.
  struct Abilities {
    bool vectored_fixed = false;  // READV_FIXED, WRITEV_FIXED
    bool socket_fixed = false;    // fixed buffers on plain SEND and RECV
    bool block_discard = false;   // BLOCK_URING_CMD_DISCARD
    bool links = false;           // links of which only what goes wrong, or the end, is reported
    File zero;                    // /dev/zero, to clear pages that have no address
  };

  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  virtual ~Ring() = default;

  // --- I/O on lent buffers. Offsets and lengths in bytes; EACCES for the wrong direction, EFAULT
  // for a view that is broken, ENODATA when a file ends before the view is filled.
  Operation read(File file, uint64_t offset, View destination);
  Operation write(File file, uint64_t offset, View source, bool durable = false);  // RWF_DSYNC
  Operation send(File socket, View source, int message_flags = 0);
  Operation send_zc(File socket, View source, int message_flags = 0);
  Operation recv(File socket, View destination);  // ECONNRESET when the peer closes early

  // --- The explicit copy path (P-14): between a lent buffer and memory of the server.
  // EOPNOTSUPP where the lender offers no way to the bytes. `memory` has the view's length.
  Operation copy_in(View destination, std::span<const std::byte> memory);
  Operation copy_out(View source, std::span<std::byte> memory);
  Operation zero(View destination);

  // --- Without a buffer.
  Operation sync(File file, bool data_only);
  Operation fallocate(File file, int mode, uint64_t offset, uint64_t length);
  Operation discard(File block_device, uint64_t offset, uint64_t length);
  Operation sleep(std::chrono::nanoseconds duration);

  // --- Slots of the buffer table (P-18). co_await acquire_slot() waits while all are taken.
  class SlotWait;
  SlotWait acquire_slot();
  void release_slot(int slot);
  uint32_t free_slots() const { return static_cast<uint32_t>(free_slots_.size()); }

  // --- The loop.
  void run();  // until stop() was called and nothing is in flight
  void run_once(bool wait);
  void stop();     // any thread
  void abandon();  // any thread: run() returns at once, what is in flight dies with the ring
  void post(Message& message);  // any thread

  void submit(Completion& completion);
  bool has_room(uint32_t sqes) const;  // for as many as one submission, as linked ones must be
  // Submits `leader` and has the kernel go on with `follower` once the leader's result is
  // `leader_result`. Both have one CQE together: the follower's, or that of a leader which ended
  // otherwise. False, and nothing submitted, where the kernel or the moment does not allow it.
  bool submit_linked(Completion& leader, Follower& follower, int32_t leader_result);
  void cancel(Completion& completion);  // its result becomes ECANCELED, unless it is done first

  ReadyList& ready() { return ready_; }
  PipePool& pipes() { return pipes_; }  // for piped loans
  const Abilities& abilities() const { return abilities_; }
  const FileSlots& files() const { return files_; }
  const RingCounters& counters() const { return counters_; }
  uint32_t in_flight() const { return in_flight_; }
  bool waiting() const { return waiting_head_ != nullptr; }

 protected:
  Ring() = default;

  virtual io_uring_sqe* next_sqe() = 0;  // zeroed; null when the submission queue is full
  virtual uint32_t free_sqes() const = 0;
  virtual void enter(bool wait) = 0;  // hands over SQEs; with `wait`, until there is a completion
  // Takes completions that are there. Returns how many, at most the size of `batch`.
  virtual uint32_t reap(std::span<Cqe> batch) = 0;
  virtual void wake() = 0;  // makes enter(true) return; any thread

  void set_limits(uint32_t cq_entries, uint32_t slots);
  void set_abilities(const Abilities& abilities) { abilities_ = abilities; }
  // A completion that is always in flight and must not keep run() from ending.
  void count_standing() { ++standing_; }

  RingCounters counters_;
  FileSlots files_;

 private:
  friend class Operation;

  bool idle() const;
  bool try_submit(Completion& completion);
  io_uring_sqe& fill_sqe(io_uring_sqe& sqe, Completion& completion);
  void submit_waiting();
  void collect();
  void run_messages();

  ReadyList ready_;
  Abilities abilities_;
  uint32_t cq_entries_ = 0;
  uint32_t in_flight_ = 0;
  uint32_t standing_ = 0;
  Completion* waiting_head_ = nullptr;  // FIFO of those without an SQE
  Completion* waiting_tail_ = nullptr;
  std::vector<int> free_slots_;
  PipePool pipes_{counters_};
  SlotWait* slot_waiters_head_ = nullptr;
  SlotWait* slot_waiters_tail_ = nullptr;

  std::atomic<Message*> messages_ = nullptr;  // newest first
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> abandoned_ = false;
};

class [[nodiscard]] Ring::SlotWait {
 public:
  explicit SlotWait(Ring& ring) : ring_(ring) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> coroutine);
  int await_resume() const { return slot_; }

 private:
  friend class Ring;
  Ring& ring_;
  int slot_ = Loan::kNoSlot;
  std::coroutine_handle<> coroutine_;
  SlotWait* next_ = nullptr;
};

}  // namespace sluice
