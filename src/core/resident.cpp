#include "core/resident.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace sluice {
namespace {

constexpr size_t kStackBytes = 64 * 1024;

}  // namespace

// Locking faults the pages in. If locking is not permitted, the pages are only faulted in, on Linux
// 5.14 and later.
Result<void> make_resident(std::span<std::byte> memory) {
  if (memory.empty() || mlock(memory.data(), memory.size()) == 0) return {};
  const int cause = errno;
  madvise(memory.data(), memory.size(), MADV_POPULATE_WRITE);
  return fail(cause, fmt::format("{} bytes of memory cannot be locked: {}; see ulimit -l and the "
                                 "memory.max of the control group",
                                 memory.size(), std::strerror(cause)));
}

std::string keep_within(uint64_t reserve_bytes, std::span<std::byte> buffers, uint64_t data_bytes) {
  if (data_bytes > reserve_bytes) {
    return fmt::format(
        "its requests have buffers of {} bytes and a reserve of only {}: use a "
        "smaller --depth or a larger --reserve",
        data_bytes, reserve_bytes);
  }
  const auto resident = make_resident(buffers);
  return resident ? std::string() : resident.error().text;
}

void touch_stack() {
  std::array<volatile std::byte, kStackBytes> room;
  for (size_t i = 0; i < room.size(); i += 1024) room[i] = std::byte{};
}

}  // namespace sluice
