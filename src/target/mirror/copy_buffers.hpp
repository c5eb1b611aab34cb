// CopyBuffers: the memory of a job that copies: a pool of its own, registered with the ring of the
// control reactor if its table has room, so that no operation has to pin the pages again.
//
// It is there while the job runs. On the control reactor, but for its end.
#pragma once

#include <cstdint>
#include <memory>

#include "core/error.hpp"
#include "ring/buffer_pool.hpp"
#include "ring/pooled_buffer.hpp"

namespace sluice::mirror {

class CopyBuffers {
 public:
  CopyBuffers(size_t buffer_bytes, uint32_t buffers)
      : buffer_bytes_(buffer_bytes), buffers_(buffers) {}
  CopyBuffers(const CopyBuffers&) = delete;
  CopyBuffers& operator=(const CopyBuffers&) = delete;
  ~CopyBuffers();

  // Unless it has been called since end(). ENOMEM: there is no address space.
  Status begin(Ring& ring);
  // All buffers have been given back.
  void end();

  // co_await yields a buffer. A job that takes no more than there are never waits.
  BufferWait take() { return reserve_->take(); }

 private:
  const size_t buffer_bytes_;
  const uint32_t buffers_;
  std::unique_ptr<BufferPool> pool_;
  std::unique_ptr<BufferReserve> reserve_;
};

}  // namespace sluice::mirror
