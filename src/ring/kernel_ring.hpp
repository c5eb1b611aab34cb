// KernelRing: a Ring on the kernel's io_uring.
//
// Created by, and bound to, the thread that runs it (SINGLE_ISSUER, DEFER_TASKRUN if the kernel has
// them). The registered files are given at creation and have the same slots in every ring of a
// device; the buffer table starts empty.
#pragma once

#include <liburing.h>

#include <chrono>
#include <memory>
#include <span>

#include "core/error.hpp"
#include "ring/idle_poll.hpp"
#include "ring/ring.hpp"
#include "ring/warm_up.hpp"

namespace sluice {

class KernelRing final : public Ring {
 public:
  static constexpr uint32_t kMaxSlots = 16384;  // IORING_MAX_REG_BUFFERS (S103)

  struct Options {
    uint32_t entries = 256;   // submission queue; if full, operations wait
    uint32_t cq_entries = 0;  // most operations in flight; 0: four times `entries`
    uint32_t slots = 0;       // size of the buffer table, at most kMaxSlots
    WarmUp warm_up{};
    bool wide_sqes = false;  // 128-byte SQEs, zeroed only up to 64
    // The longest time to look for completions before the thread sleeps; 0: none. See IdlePoll.
    std::chrono::nanoseconds idle_poll{};
    std::span<const int> files{};  // slot i is files[i]; -1: set_file() comes later
  };

  // EINVAL: more slots than that. ENOSYS, EPERM, ENOMEM: the kernel has no io_uring, forbids it, or
  // has no memory for it.
  static Result<std::unique_ptr<KernelRing>> create(const Options& options);
  ~KernelRing() override;

  // Replaces the registered file of `slot`. The ring's thread only.
  Result<void> set_file(size_t slot, int descriptor);
  void put_file(File slot, int descriptor) override;

  // Replaces the registered buffer of `slot`; empty `memory` clears the slot. The memory stays
  // pinned until it is replaced and the last operation that uses it has ended (P-12). The ring's
  // thread only. EINVAL: no such slot; EFAULT: no such memory; ENOMEM: more than RLIMIT_MEMLOCK
  // allows.
  Result<void> register_memory(int slot, std::span<std::byte> memory);

 private:
  KernelRing() = default;

  Result<void> open(const Options& options);
  Result<void> open_io_uring(const Options& options);
  Result<void> register_tables(const Options& options);
  Abilities probe(int zero_slot);

  io_uring_sqe* next_sqe() override;
  uint32_t free_sqes() const override;
  void enter(bool wait) override;
  // As the function of liburing, but looks for completions before it sleeps (IdlePoll).
  int submit_and_wait();
  bool poll_until(uint64_t end) const;
  bool link_was_cut() const;
  uint32_t reap(std::span<Cqe> batch) override;
  void wake() override;

  // Reads the eventfd that other threads write to; always in flight.
  class Doorbell final : public Completion {
   public:
    explicit Doorbell(KernelRing& ring) : ring_(ring) {}
    void prepare(io_uring_sqe& sqe) override;
    void complete(int32_t result, uint32_t flags) override;

   private:
    KernelRing& ring_;
    uint64_t rings_ = 0;
  };

  io_uring ring_{};
  bool open_ = false;
  int wake_fd_ = -1;
  int zero_fd_ = -1;
  uint32_t unsubmitted_ = 0;
  IdlePoll idle_poll_;
  Doorbell doorbell_{*this};
};

}  // namespace sluice
