#include "ring/buffer_pool.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/resident.hpp"
#include "ring/kernel_ring.hpp"
#include "ring/pooled_buffer.hpp"

namespace sluice {

Result<std::unique_ptr<BufferPool>> BufferPool::create(Ring& ring, size_t buffer_bytes,
                                                       uint32_t buffers) {
  assert(buffer_bytes != 0 && buffers != 0);
  const size_t rounded = (buffer_bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* const place =
      mmap(nullptr, rounded * buffers, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("there is no room for {} buffers of {} bytes: {}", buffers,
                                   rounded, std::strerror(errno)));
  }
  return std::unique_ptr<BufferPool>(
      new BufferPool(ring, {static_cast<std::byte*>(place), rounded * buffers}, rounded));
}

// The first partial fill of a loan allocates its fill map: done here, once.
BufferPool::BufferPool(Ring& ring, std::span<std::byte> memory, size_t buffer_bytes)
    : ring_(ring),
      memory_(memory),
      buffer_bytes_(buffer_bytes),
      loans_(std::make_unique<Loan[]>(memory.size() / buffer_bytes)) {
  for (auto i = static_cast<uint32_t>(memory.size() / buffer_bytes); i-- != 0;) {
    free_.push_back(i);
    const View lent = loans_[i].lend_mapped(*this, Direction::destination, memory_of(i));
    loans_[i].fill({0, 1});
  }
  if (auto resident = make_resident(memory); !resident) risk_ = std::move(resident.error().text);
}

BufferPool::~BufferPool() {
  assert(waiting_.empty() && free_.size() == memory_.size() / buffer_bytes_);
  if (registered()) {
    // On failure the ring keeps the pages until it is destroyed.
    [[maybe_unused]] const auto emptied = registered_with_->register_memory(slot_, {});
    ring_.release_slot(slot_);
  }
  munmap(memory_.data(), memory_.size());
}

Result<void> BufferPool::register_with(KernelRing& ring) {
  assert(&ring == &ring_ && !registered());
  SlotWait wait = ring.acquire_slot();
  if (!wait.await_ready()) return fail(ENOSPC, "an I/O ring has no slot for a pool of buffers");
  const int slot = wait.await_resume();
  if (auto done = ring.register_memory(slot, memory_); !done) {
    ring.release_slot(slot);
    return done;
  }
  slot_ = slot;
  registered_with_ = &ring;
  return {};
}

Result<std::unique_ptr<BufferReserve>> BufferPool::reserve(uint32_t buffers) {
  if (buffers > free_.size() - owed_) {
    return fail(ENOSPC, fmt::format("a pool of {} buffers cannot reserve {} more: {} are free",
                                    memory_.size() / buffer_bytes_, buffers, free_.size() - owed_));
  }
  owed_ += buffers;
  return std::unique_ptr<BufferReserve>(new BufferReserve(*this, buffers));
}

BufferReserve::~BufferReserve() {
  assert(held_ == 0 && "a BufferReserve outlives its buffers");
  pool_.owed_ -= reserved_;
  pool_.serve_waiting();
}

// True if a reserved buffer of `reserve`, or an unreserved one, is free.
bool BufferPool::may_take(const BufferReserve& reserve) const {
  return reserve.held_ < reserve.reserved_ || free_.size() > owed_;
}

PooledBuffer BufferPool::take(BufferReserve& reserve) {
  if (reserve.held_++ < reserve.reserved_) --owed_;
  const uint32_t buffer = free_.back();
  free_.pop_back();
  return {reserve, buffer};
}

void BufferPool::give_back(BufferReserve& reserve, uint32_t buffer) {
  free_.push_back(buffer);
  if (--reserve.held_ < reserve.reserved_) ++owed_;
  serve_waiting();
}

// The free buffer may be reserved for a target other than that of the first waiter.
void BufferPool::serve_waiting() {
  Fifo<BufferWait> left;
  while (BufferWait* const wait = waiting_.pop()) {
    if (free_.empty() || !may_take(wait->reserve_)) {
      left.push(*wait);
      continue;
    }
    wait->buffer_ = take(wait->reserve_);
    ring_.ready().push(wait->coroutine_);
  }
  std::swap(waiting_, left);
}

// No waiter could take this buffer, so none is overtaken here.
bool BufferWait::await_ready() {
  BufferPool& pool = reserve_.pool_;
  if (pool.may_take(reserve_)) buffer_ = pool.take(reserve_);
  return static_cast<bool>(buffer_);
}

void BufferWait::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  reserve_.pool_.waiting_.push(*this);
}

std::span<std::byte> PooledBuffer::bytes() const {
  return reserve_ == nullptr ? std::span<std::byte>() : reserve_->pool_.memory_of(number_);
}

View PooledBuffer::lend(Direction direction, uint32_t length) {
  assert(length <= bytes().size());
  BufferPool& pool = reserve_->pool_;
  return pool.loans_[number_].lend_mapped(pool, direction, bytes().first(length), pool.slot_);
}

void PooledBuffer::drop() {
  if (reserve_ == nullptr) return;
  BufferReserve& reserve = *std::exchange(reserve_, nullptr);
  assert(reserve.pool_.loans_[number_].references() == 0 && "views of a buffer go before it");
  reserve.pool_.give_back(reserve, number_);
}

}  // namespace sluice
