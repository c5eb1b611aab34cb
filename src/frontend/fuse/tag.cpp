#include "frontend/fuse/tag.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>

#include "core/ticks.hpp"
#include "target/loop/backing_file.hpp"

namespace sluice::fuse {

TagMemory::~TagMemory() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
}

Result<void> TagMemory::reserve(uint32_t tags, uint32_t max_io_bytes) {
  plan(tags, max_io_bytes);
  return map(MAP_PRIVATE | MAP_ANONYMOUS);
}

Result<void> TagMemory::reserve_file(uint32_t tags, uint32_t max_io_bytes) {
  plan(tags, max_io_bytes);
  auto file = BackingFile::create_in_memory(bytes_);
  if (!file) return std::unexpected(file.error());
  file_ = std::move(file->descriptor);
  return map(MAP_SHARED);
}

void TagMemory::plan(uint32_t tags, uint32_t max_io_bytes) {
  edges_offset_ = max_io_bytes + 2 * kBlockBytesMax;
  stride_ = size_t{kHeaderBytes} + edges_offset_ + 2 * kBlockBytesMax;
  bytes_ = tags * stride_;
}

Result<void> TagMemory::map(int flags) {
  void* const place =
      mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, file_.number(), 0);
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("no address space for buffers of {} bytes: use a smaller depth "
                                   "or smaller requests",
                                   bytes_));
  }
  memory_ = static_cast<std::byte*>(place);
  return {};
}

void Tag::set_up(Ring& ring, const TagMemory& memory, uint16_t queue, uint16_t number) {
  data = memory.data_of(number);
  edges = data + memory.edges_offset();
  data_file = memory.file();
  data_position = memory.position_of(number);
  loan.set_up(ring);
  request.ring = &ring;
  request.arena = &arena;
  request.ready = &ring.ready();
  request.queue = queue;
  request.tag = number;
}

View Tag::lend(Direction direction, std::span<std::byte> bytes) {
  loan.awaits_return();
  return loan->lend_mapped(loan.lender(), direction, bytes);
}

View Tag::lend_piped(Direction direction, uint32_t length) {
  loan.awaits_return();
  Pipe* const source = direction == Direction::source ? pipe : nullptr;
  return loan->lend_piped(loan.lender(), direction, length, source);
}

View Tag::lend_slot(Direction direction, uint32_t length) {
  loan.awaits_return();
  return loan->lend_registered(loan.lender(), direction, length, slot);
}

void Tag::list_in_flight(uint16_t number, std::vector<InFlight>& found) const {
  if (begun == 0) return;
  found.push_back(describe(request));
  found.back().tag = number;
  found.back().age_ticks = ticks() - begun;
}

}  // namespace sluice::fuse
