#include "frontend/fuse/uring_pools.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "frontend/fuse/command_ring.hpp"

namespace sluice::fuse {
namespace {

// The length of a pool is a 32-bit number. Requests without a buffer wait in the kernel.
constexpr uint64_t kPoolBytesMax = UINT32_MAX;

}  // namespace

UringPools::~UringPools() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
}

Result<void> UringPools::open(const Setup& setup) {
  if (auto reserved = reserve(setup); !reserved) return reserved;
  CommandRing ring;
  for (uint16_t queue = 0; queue < setup.queues; ++queue) {
    const int added = ring.run(setup.device, abi::kAddQueue,
                               {.flags = abi::kQueueZeroCopy, .queue_id = queue, .pool = {}});
    if (added < 0) {
      return fail(
          -added,
          fmt::format(
              "data path 'uring_zc' is not possible: the kernel cannot make a queue for it: {}{}",
              std::strerror(-added), added == -EPERM ? " (it needs CAP_SYS_ADMIN)" : ""));
    }
    const std::span<std::byte> pool = of(queue);
    const int given = ring.run(
        setup.device, abi::kAddPool,
        {.queue_id = queue,
         .pool = {.address = reinterpret_cast<uint64_t>(pool.data()), .length = bytes_each_}});
    if (given < 0) {
      return fail(-given, fmt::format("the kernel refuses a pool of {} bytes: {}", bytes_each_,
                                      std::strerror(-given)));
    }
  }
  return {};
}

// Only address space: pages are allocated on use. A buffer for every entry, if possible.
Result<void> UringPools::reserve(const Setup& setup) {
  const uint64_t buffers = std::min<uint64_t>(setup.depth, kPoolBytesMax / setup.max_io_bytes);
  bytes_each_ = static_cast<uint32_t>(buffers * setup.max_io_bytes);
  bytes_ = size_t{setup.queues} * bytes_each_;
  void* const place = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("no address space for {} pools of {} bytes: use a smaller depth "
                                   "or smaller requests",
                                   setup.queues, bytes_each_));
  }
  memory_ = static_cast<std::byte*>(place);
  return {};
}

std::span<std::byte> UringPools::of(uint16_t queue) const {
  return {memory_ + size_t{queue} * bytes_each_, bytes_each_};
}

}  // namespace sluice::fuse
