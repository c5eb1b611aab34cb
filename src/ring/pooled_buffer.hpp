// PooledBuffer: holds a buffer of a BufferPool until it is destroyed. BufferReserve: the number of
// buffers that a target can always take. Both are used by the ring's thread only.
#pragma once

#include <cassert>
#include <coroutine>
#include <utility>

#include "core/fifo.hpp"
#include "core/loan.hpp"
#include "ring/buffer_pool.hpp"

namespace sluice {

// Lives in a coroutine frame, declared before all objects that hold views of it. May be empty.
class PooledBuffer {
 public:
  PooledBuffer() = default;
  PooledBuffer(PooledBuffer&& other) noexcept
      : reserve_(std::exchange(other.reserve_, nullptr)), number_(other.number_) {}
  PooledBuffer& operator=(PooledBuffer&& other) noexcept {
    std::swap(reserve_, other.reserve_);
    std::swap(number_, other.number_);
    return *this;
  }
  ~PooledBuffer() { drop(); }

  explicit operator bool() const { return reserve_ != nullptr; }
  std::span<std::byte> bytes() const;
  // Lends the first `length` bytes, for any operation of the ring. Earlier loans must have ended.
  View lend(Direction direction, uint32_t length);
  void drop();

 private:
  friend class BufferPool;
  PooledBuffer(BufferReserve& reserve, uint32_t number) : reserve_(&reserve), number_(number) {}

  BufferReserve* reserve_ = nullptr;
  uint32_t number_ = 0;
};

class BufferReserve {
 public:
  BufferReserve(const BufferReserve&) = delete;
  BufferReserve& operator=(const BufferReserve&) = delete;
  ~BufferReserve();

  // co_await yields a buffer. A coroutine that has to wait is resumed by the ring.
  BufferWait take();

 private:
  friend class BufferPool;
  friend class BufferWait;
  friend class PooledBuffer;
  BufferReserve(BufferPool& pool, uint32_t reserved) : pool_(pool), reserved_(reserved) {}

  BufferPool& pool_;
  const uint32_t reserved_;
  uint32_t held_ = 0;
};

class [[nodiscard]] BufferWait : private FifoLink<BufferWait> {
 public:
  bool await_ready();
  void await_suspend(std::coroutine_handle<> coroutine);
  PooledBuffer await_resume() { return std::move(buffer_); }

 private:
  friend class BufferPool;
  friend class BufferReserve;
  friend class Fifo<BufferWait>;
  explicit BufferWait(BufferReserve& reserve) : reserve_(reserve) {}

  BufferReserve& reserve_;
  PooledBuffer buffer_;
  std::coroutine_handle<> coroutine_;
};

inline BufferWait BufferReserve::take() { return BufferWait(*this); }

}  // namespace sluice
