#include "reactor/byte_io.hpp"

#include <algorithm>
#include <cstring>

namespace sluice {

Task ByteIo::read(Request& request, Tag& tag, Memory memory) {
  const Cover blocks = cover(request.offset, request.length);
  const Ends ends = blocks.aligned() ? Ends::request : Ends::part;
  Task reading = transfer(request, tag, blocks.begin, {memory.data, blocks.length}, ends);
  const Status status = co_await reading;
  if (status.ok() && blocks.lead != 0) {
    std::memmove(memory.data, memory.data + blocks.lead, request.length);
  }
  co_return status;
}

Task ByteIo::write(Request& request, Tag& tag, Memory memory, uint64_t offset, uint32_t length,
                   Ends ends) {
  const Cover blocks = cover(offset, length);
  const auto mode = blocks.aligned() ? RangeLock::Mode::shared : RangeLock::Mode::exclusive;
  RangeLock::Hold hold(lock_, *request.ring, blocks.begin, blocks.length, mode);
  co_await hold;
  if (!blocks.aligned()) {
    Task completing = complete_edges(request, tag, memory, blocks, length);
    const Status status = co_await completing;
    if (!status.ok()) co_return status;
  }
  Task writing = transfer(request, tag, blocks.begin, {memory.data, blocks.length}, ends);
  co_return co_await writing;
}

// Moves the data to its position in its blocks, and reads the old bytes around it.
Task ByteIo::complete_edges(Request& request, Tag& tag, Memory memory, const Cover& cover,
                            uint32_t length) {
  const Op op = request.op;
  request.op = Op::read;
  std::memmove(memory.data + cover.lead, memory.data, length);
  Status status;
  if (cover.lead != 0) {
    const uint64_t bytes = std::min<uint64_t>(cover.length, block_bytes_);
    Task reading = transfer(request, tag, cover.begin, {memory.edges, bytes}, Ends::part);
    status = co_await reading;
    std::memcpy(memory.data, memory.edges, cover.lead);
  }
  if (status.ok() && cover.trail != 0) {
    const uint64_t last = last_block(cover);
    const uint64_t bytes = cover.begin + cover.length - last;
    std::byte* const edge = memory.edges + kBlockBytesMax;
    Task reading = transfer(request, tag, last, {edge, bytes}, Ends::part);
    status = co_await reading;
    std::memcpy(memory.data + cover.length - cover.trail, edge + bytes - cover.trail, cover.trail);
  }
  request.op = op;
  co_return status;
}

Task ByteIo::zero(Request& request, Tag& tag, Memory memory) {
  const uint64_t end = request.offset + request.length;
  const Cover blocks = cover(request.offset, request.length);
  // The whole blocks within the range; none if it is within one block, or in parts of two.
  const uint64_t first = blocks.begin + (blocks.lead != 0 ? block_bytes_ : 0);
  const uint64_t last = blocks.trail != 0 ? last_block(blocks) : blocks.begin + blocks.length;
  const uint64_t head_end = std::min(first, end);
  if (first < last) {  // before the edges: if it is refused (fast_only), nothing has changed
    RangeLock::Hold hold(lock_, *request.ring, first, last - first, RangeLock::Mode::shared);
    co_await hold;
    Request whole = request.child(first, last - first);
    Task zeroing = disk_.submit(whole);
    const Status status = co_await zeroing;
    if (!status.ok()) co_return status;
  }
  if (request.offset < head_end) {
    Task zeroing = zero_bytes(request, tag, memory, request.offset, head_end - request.offset);
    const Status status = co_await zeroing;
    if (!status.ok()) co_return status;
  }
  const uint64_t tail_begin = std::max(head_end, last);
  if (tail_begin < end) {
    Task zeroing = zero_bytes(request, tag, memory, tail_begin, end - tail_begin);
    co_return co_await zeroing;
  }
  co_return kOk;
}

// Zeroes less than a block.
Task ByteIo::zero_bytes(Request& request, Tag& tag, Memory memory, uint64_t offset,
                        uint64_t length) {
  const Op op = request.op;
  request.op = Op::write;
  std::memset(memory.data, 0, length);
  Task writing = write(request, tag, memory, offset, static_cast<uint32_t>(length), Ends::part);
  const Status status = co_await writing;
  request.op = op;
  co_return status;
}

Task ByteIo::transfer(Request& request, Tag& tag, uint64_t offset, std::span<std::byte> memory,
                      Ends /*ends*/) {
  const bool reads = request.op == Op::read;
  Request blocks = request.child(offset, tag.lend(direction_of(request.op), memory));
  blocks.fua = request.fua && !reads;
  Task serving = disk_.submit(blocks);
  const Status status = co_await serving;
  blocks.data.drop();
  auto back = tag.loan.back();
  co_await back;
  co_return tag.confirm_read(blocks, status);
}

ByteIo::Cover ByteIo::cover(uint64_t offset, uint64_t length) const {
  const uint64_t mask = block_bytes_ - 1;
  const uint64_t begin = offset & ~mask;
  const uint64_t data = disk_.geometry().data_bytes();
  uint64_t end = (offset + length + mask) & ~mask;
  if (end > data && (data & mask) != 0) end = std::max(data, offset + length);
  return {.begin = begin,
          .length = end - begin,
          .lead = static_cast<uint32_t>(offset - begin),
          .trail = static_cast<uint32_t>(end - offset - length)};
}

// Where the last block begins, of which the disk may have only a part.
uint64_t ByteIo::last_block(const Cover& cover) const {
  return (cover.begin + cover.length - 1) & ~(uint64_t{block_bytes_} - 1);
}

}  // namespace sluice
