// BufferPool: aligned memory of a reactor for targets that must hold bytes: to encrypt, to
// compress, to copy a cluster. Allocated once, prefaulted and locked, and registered with the ring
// if possible.
//
//   auto pool = BufferPool::create(ring, 64 << 10, 32);            of the reactor
//   auto buffers = pool->reserve(2);                               of a target on it
//   auto wait = buffers->take();
//   PooledBuffer buffer = co_await wait;
//   auto reading = ring.read(file, offset, buffer.lend(Direction::destination, length));
//
// A request that finds no free buffer waits; requests are served in order. A target can always take
// as many buffers as it has reserved, whatever the other targets hold, and shares the rest with
// them. It therefore waits for its own requests only, and these wait for the layers below. This
// holds only if a request never takes a second buffer while it holds one: it moves larger amounts
// of data one buffer at a time.
//
// Owned by a reactor, used by its ring's thread only; outlives its reserves, and is outlived by the
// ring. After creation it neither allocates nor locks memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/fifo.hpp"
#include "core/loan.hpp"

namespace sluice {

class BufferReserve;
class BufferWait;
class KernelRing;
class PooledBuffer;
class Ring;

class BufferPool final : private Lender {
 public:
  static constexpr size_t kAlignment = 4096;  // any direct I/O accepts it

  // `buffers` of `buffer_bytes` each, rounded up to kAlignment. ENOMEM: there is no address space.
  static Result<std::unique_ptr<BufferPool>> create(Ring& ring, size_t buffer_bytes,
                                                    uint32_t buffers);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();

  // Registers the whole pool as one buffer of its ring, which takes one slot. Call before any
  // buffer is taken. ENOSPC: no slot is free; ENOMEM: more than RLIMIT_MEMLOCK allows. On failure
  // the pool works unregistered.
  Result<void> register_with(KernelRing& ring);
  bool registered() const { return slot_ != Loan::kNoSlot; }

  // For one target. ENOSPC: fewer unreserved buffers are left.
  Result<std::unique_ptr<BufferReserve>> reserve(uint32_t buffers);

  size_t buffer_bytes() const { return buffer_bytes_; }
  uint32_t free_buffers() const { return static_cast<uint32_t>(free_.size()); }
  // Why pages may not be resident when they are needed; empty: all are.
  const std::string& risk() const { return risk_; }

 private:
  friend class BufferReserve;
  friend class BufferWait;
  friend class PooledBuffer;

  BufferPool(Ring& ring, std::span<std::byte> memory, size_t buffer_bytes);
  void returned(Loan&) noexcept override {}
  std::span<std::byte> memory_of(uint32_t buffer) const {
    return memory_.subspan(buffer * buffer_bytes_, buffer_bytes_);
  }
  bool may_take(const BufferReserve& reserve) const;
  PooledBuffer take(BufferReserve& reserve);
  void give_back(BufferReserve& reserve, uint32_t buffer);
  void serve_waiting();

  Ring& ring_;
  const std::span<std::byte> memory_;
  const size_t buffer_bytes_;
  const std::unique_ptr<Loan[]> loans_;  // one for each buffer
  std::vector<uint32_t> free_;
  uint32_t owed_ = 0;  // free buffers that are reserved and not taken
  Fifo<BufferWait> waiting_;
  std::string risk_;
  KernelRing* registered_with_ = nullptr;
  int slot_ = Loan::kNoSlot;
};

}  // namespace sluice
