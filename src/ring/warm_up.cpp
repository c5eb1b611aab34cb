#include "ring/warm_up.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/descriptor.hpp"

namespace sluice {
namespace {

io_uring_sqe& next_sqe(io_uring& ring) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring);
  while (sqe == nullptr) {
    io_uring_submit(&ring);
    sqe = io_uring_get_sqe(&ring);
  }
  return *sqe;
}

// Waits until this many operations have ended, with any result.
void collect(io_uring& ring, size_t count) {
  while (count != 0) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_wait_cqe(&ring, &cqe) != 0) continue;  // interrupted
    io_uring_cqe_seen(&ring, cqe);
    --count;
  }
}

// Reads that block: each allocates everything that an operation on a file or socket needs.
void warm_up_operations(io_uring& ring, uint32_t count) {
  const Descriptor source(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE));
  std::vector<uint64_t> places(count);
  for (uint64_t& place : places) {
    io_uring_prep_read(&next_sqe(ring), source.number(), &place, sizeof(place), 0);
  }
  io_uring_submit(&ring);
  eventfd_write(source.number(), count);
  collect(ring, count);
}

// Registers a page in each slot, then clears all slots.
void warm_up_buffers(io_uring& ring, uint32_t count) {
  std::byte byte{};
  std::vector<iovec> buffers(count, {&byte, sizeof(byte)});
  const std::vector<__u64> tags(count);
  const int filled =
      io_uring_register_buffers_update_tag(&ring, 0, buffers.data(), tags.data(), count);
  if (filled <= 0) return;
  std::ranges::fill(buffers, iovec{});
  io_uring_register_buffers_update_tag(&ring, 0, buffers.data(), tags.data(),
                                       static_cast<unsigned>(filled));
}

// The kernel has two kinds of workers: for regular files and block devices, and for all others. The
// last worker of each kind does not exit.
void warm_up_workers(io_uring& ring, uint32_t most) {
  unsigned limits[2] = {most, most};
  if (io_uring_register_iowq_max_workers(&ring, limits) != 0) return;
  const Descriptor file(memfd_create("sluice-warm-up", MFD_CLOEXEC));
  const Descriptor zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  std::byte byte{};
  io_uring_sqe& syncing = next_sqe(ring);
  io_uring_prep_fsync(&syncing, file.number(), 0);
  syncing.flags |= IOSQE_ASYNC;
  io_uring_sqe& reading = next_sqe(ring);
  io_uring_prep_read(&reading, zero.number(), &byte, sizeof(byte), 0);
  reading.flags |= IOSQE_ASYNC;
  io_uring_submit(&ring);
  collect(ring, 2);
}

}  // namespace

std::string beyond_warm_up(uint32_t tags) {
  if (tags <= kKeptOperations) return {};
  return fmt::format(
      "the kernel allocates memory for more than {} requests at a time: use a smaller --depth",
      kKeptOperations);
}

void warm_up(io_uring& ring, const WarmUp& amounts) {
  if (amounts.operations == 0) return;
  warm_up_operations(ring, std::min(amounts.operations, ring.cq.ring_entries));
  if (amounts.slots != 0) warm_up_buffers(ring, std::min(amounts.slots, kKeptOperations));
  if (amounts.workers != 0) warm_up_workers(ring, amounts.workers);
}

}  // namespace sluice
