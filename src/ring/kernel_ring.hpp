// KernelRing: a Ring on the kernel's io_uring.
//
// Created by, and bound to, the thread that runs it (SINGLE_ISSUER, DEFER_TASKRUN where the kernel
// has them). The registered files are given at creation and have the same slots in every ring of a
// device; the buffer table starts empty.
#pragma once

#include <liburing.h>

#include <memory>
#include <span>

#include "core/error.hpp"
#include "ring/ring.hpp"

namespace sluice {

class KernelRing final : public Ring {
 public:
  static constexpr uint32_t kMaxSlots = 16384;  // IORING_MAX_REG_BUFFERS (S103)

  struct Options {
    uint32_t entries = 256;        // submission queue; a full one queues
    uint32_t cq_entries = 0;       // most that can be in flight; 0: four times `entries`
    uint32_t slots = 0;            // size of the buffer table, at most kMaxSlots
    bool wide_sqes = false;        // 128 bytes, for commands that need them; zeroed only up to 64
    std::span<const int> files{};  // slot i is files[i]
  };

  // ENOSYS, EPERM, ENOMEM: the kernel has no io_uring, forbids it, or has no memory for it.
  static Result<std::unique_ptr<KernelRing>> create(const Options& options);
  ~KernelRing() override;

  // Makes `memory` the registered buffer of `slot`, in place of what was there; no memory empties
  // the slot. It stays pinned until then, and until the last operation that uses it has ended
  // (P-12). The ring's thread only. EINVAL: no such slot; EFAULT: no such memory; ENOMEM: more than
  // RLIMIT_MEMLOCK allows.
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
  Doorbell doorbell_{*this};
};

}  // namespace sluice
