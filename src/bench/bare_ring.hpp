// BareRing: an io_uring like that of splice-bench.c, without any code of Sluice. Start a batch with
// next() for each SQE, end it with finish().
#pragma once

#include <liburing.h>

#include <cstddef>
#include <span>

#include "bench/column.hpp"
#include "core/buffer.hpp"
#include "core/error.hpp"

namespace sluice::bench {

class BareRing {
 public:
  BareRing() = default;
  BareRing(const BareRing&) = delete;
  BareRing& operator=(const BareRing&) = delete;
  ~BareRing();

  // For batches of `depth`. `files` become the registered files, in this order.
  Result<void> open(uint32_t depth, std::span<const int> files);
  // Makes `memory` the registered buffer 0.
  Result<void> register_memory(std::span<std::byte> memory);

  io_uring_sqe* next();
  // Submits the SQEs of next() and waits for all of them. False: a result is not `expected`.
  bool finish(int32_t expected = kIoBytes);

  const Counts& counts() const { return counts_; }

 private:
  io_uring ring_{};
  bool open_ = false;
  uint32_t begun_ = 0;
  Counts counts_;
};

}  // namespace sluice::bench
