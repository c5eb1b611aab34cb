#include "target/qcow2/storage_bytes.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "target/plain_request.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kStepBytes = 1 << 20;
constexpr uint64_t kDirectBytes = 4096;  // what direct I/O wants at most

}  // namespace

uint64_t StorageBytes::exact_size() const {
  const uint64_t size = storage_.geometry().size_bytes;
  const auto file = storage_.bare_file();
  struct stat status{};
  if (!file || fstat(file->descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return size;
  return std::max(size, static_cast<uint64_t>(status.st_size) - file->begin_bytes);
}

Task StorageBytes::read(Request& request, uint64_t offset, std::span<std::byte> bytes) {
  std::ranges::fill(bytes, std::byte{0});
  const uint64_t block = storage_.geometry().logical_block_bytes;
  const uint64_t size = storage_.geometry().size_bytes;
  const uint64_t end = std::min((offset + bytes.size() + block - 1) / block * block, size);
  for (uint64_t begin = offset / block * block; begin < end;) {
    const uint64_t length = std::min(end - begin, kStepBytes);
    const Buffer memory(length);
    PrivateLoan loan(Direction::destination, memory.bytes());
    Request reading = transfer(request, Op::read, begin, loan.view());
    Task served = storage_.submit(reading);
    const Status status = co_await served;
    if (!status.ok()) co_return status;
    const uint64_t from = std::max(begin, offset);
    const uint64_t until = std::min(begin + length, offset + bytes.size());
    std::memcpy(bytes.data() + (from - offset), memory.bytes().data() + (from - begin),
                until - from);
    begin += length;
  }
  if (offset + bytes.size() > size) co_return read_tail(offset, bytes);
  co_return kOk;
}

// The bytes of a regular file behind its last whole block. There are few, and they are read by a
// plain call.
Status StorageBytes::read_tail(uint64_t offset, std::span<std::byte> bytes) const {
  const uint64_t size = storage_.geometry().size_bytes;
  const uint64_t end = exact_size();
  const auto file = storage_.bare_file();
  if (!file || end <= size || offset >= end) return kOk;
  const Buffer memory(2 * kDirectBytes);
  const uint64_t begin = (file->begin_bytes + size) / kDirectBytes * kDirectBytes;
  const ssize_t got = pread(file->descriptor, memory.bytes().data(), memory.bytes().size(),
                            static_cast<off_t>(begin));
  if (got < 0) return Status::from_errno(errno);
  const uint64_t there = begin + static_cast<uint64_t>(got) - file->begin_bytes;
  const uint64_t from = std::max(offset, size);
  const uint64_t until = std::min({offset + bytes.size(), end, there});
  if (from >= until) return kOk;
  std::memcpy(bytes.data() + (from - offset),
              memory.bytes().data() + (file->begin_bytes + from - begin), until - from);
  return kOk;
}

}  // namespace sluice::qcow2
