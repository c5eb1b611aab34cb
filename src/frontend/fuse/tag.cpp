#include "frontend/fuse/tag.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "core/resident.hpp"
#include "target/file/backing_file.hpp"

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
  data_bytes_ = uint64_t{tags} * max_io_bytes;
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

std::string TagMemory::keep(uint64_t reserve_bytes) {
  return keep_within(reserve_bytes, {memory_, bytes_}, data_bytes_);
}

void Tag::use(const TagMemory& memory, uint16_t number) {
  data = memory.data_of(number);
  edges = data + memory.edges_offset();
  data_file = memory.file();
  data_position = memory.position_of(number);
}

fuse_out_header Tag::answer_header() const {
  return {.len = static_cast<uint32_t>(sizeof(fuse_out_header)) + answer.length,
          .error = -answer.error,
          .unique = call.header.unique};
}

std::span<const std::byte> Tag::write_answer() const {
  const fuse_out_header header = answer_header();
  std::byte* const place = answer_body() - sizeof(header);
  std::memcpy(place, &header, sizeof(header));
  return {place, header.len};
}

}  // namespace sluice::fuse
