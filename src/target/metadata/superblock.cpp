#include "target/metadata/superblock.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/private_loan.hpp"

namespace sluice {
namespace {

bool overlap(const SuperblockFormat& format) {
  const auto [low, high] = std::ranges::minmax(format.places);
  return high - low < format.copy_bytes;
}

}  // namespace

Result<std::unique_ptr<Superblock>> Superblock::create(Target& child,
                                                       const SuperblockFormat& format) {
  const uint64_t size = child.geometry().size_bytes;
  const uint64_t block = child.geometry().logical_block_bytes;
  const uint64_t last = std::ranges::max(format.places);
  if (format.copy_bytes <= kSuperblockHeaderBytes || format.copy_bytes % block != 0 ||
      std::ranges::any_of(format.places, [&](uint64_t place) { return place % block != 0; }) ||
      overlap(format)) {
    return fail(EINVAL,
                fmt::format("the superblocks of a {} need blocks that divide {} bytes, and what "
                            "they would lie on has blocks of {}",
                            format.name, format.copy_bytes, block));
  }
  if (size < format.copy_bytes || last > size - format.copy_bytes) {
    return fail(ENOSPC, fmt::format("{} bytes are too small for a {}: its superblocks end at byte "
                                    "{}; give it more",
                                    size, format.name, last + format.copy_bytes));
  }
  return std::unique_ptr<Superblock>(new Superblock(child, format));
}

Superblock::Superblock(Target& child, const SuperblockFormat& format)
    : child_(child),
      format_(format),
      copies_(size_t{format.copy_bytes} * 2),
      payload_(format.most_payload_bytes()) {}

Task Superblock::load(Request& request) {
  AsyncMutex::Hold hold(writing_, *request.ring);
  co_await hold;
  std::array<SuperblockCopy, 2> found{};
  for (size_t i = 0; i < found.size(); ++i) {
    Task reading = read_copy(request, i);
    const Status read = co_await reading;
    if (read.ok()) found[i] = read_superblock_copy(format_, copy(i));
  }
  co_return take(found);
}

// Bytes that the child does not fill would be old contents of the memory (P-8).
Task Superblock::read_copy(Request& request, size_t index) {
  PrivateLoan loan(Direction::destination, copy(index));
  Request reading = request.child(format_.places[index], loan.view());
  reading.op = Op::read;
  reading.fua = false;
  Task serving = child_.submit(reading);
  const Status status = co_await serving;
  if (!status.ok()) co_return status;
  const bool filled = reading.data.loan()->filled_bytes() == format_.copy_bytes;
  co_return filled ? kOk : Status::from_errno(EIO);
}

Status Superblock::take(const std::array<SuperblockCopy, 2>& copies) {
  const Result<size_t> chosen = choose_superblock(format_, copies);
  if (!chosen) {
    error_ = chosen.error();
    return Status::from_errno(error_.error);
  }
  const SuperblockCopy& newest = copies[*chosen];
  const size_t other = 1 - *chosen;
  std::ranges::copy(newest.payload, payload_.bytes().begin());
  payload_bytes_ = newest.payload.size();
  generation_ = newest.generation;
  version_ = newest.version;
  next_ = other;
  if (copies[other].state != SuperblockCopy::State::valid) {
    remark_ = fmt::format("of the two superblocks of the {} {}; generation {} serves", format_.name,
                          describe_superblock_copy(format_, other, copies[other]), generation_);
  }
  return kOk;
}

Task Superblock::write(Request& request, std::span<const std::byte> payload) {
  AsyncMutex::Hold hold(writing_, *request.ring);
  co_await hold;
  Task writing = write_locked(request, payload);
  co_return co_await writing;
}

Task Superblock::format(Request& request, std::span<const std::byte> payload) {
  AsyncMutex::Hold hold(writing_, *request.ring);
  co_await hold;
  version_ = format_.version;
  generation_ = 0;
  for (size_t i = 0; i < format_.places.size(); ++i) {
    Task writing = write_locked(request, payload);
    const Status written = co_await writing;
    if (!written.ok()) co_return written;
  }
  co_return kOk;
}

// On failure the next write uses the same place and generation: the newest copy stays.
Task Superblock::write_locked(Request& request, std::span<const std::byte> payload) {
  if (payload.size() > format_.most_payload_bytes()) co_return Status::from_errno(EMSGSIZE);
  if (generation_ == std::numeric_limits<uint64_t>::max()) co_return Status::from_errno(EOVERFLOW);
  make_superblock_copy(format_, version_, generation_ + 1, payload, copy(0));
  PrivateLoan loan(Direction::source, copy(0));
  Request writing = request.child(format_.places[next_], loan.view());
  writing.op = Op::write;
  writing.fua = true;
  Task serving = child_.submit(writing);
  const Status written = co_await serving;
  if (!written.ok()) co_return written;
  std::ranges::copy(payload, payload_.bytes().begin());
  payload_bytes_ = payload.size();
  ++generation_;
  next_ = 1 - next_;
  co_return kOk;
}

}  // namespace sluice
