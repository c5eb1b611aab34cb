#include "target/file/fine_blocks.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/private_loan.hpp"
#include "ring/ring.hpp"

namespace sluice {
namespace {

constexpr uint64_t kDesks = 32;

Target::Children only(std::unique_ptr<Target> child) {
  Target::Children children;
  children.push_back(std::move(child));
  return children;
}

}  // namespace

FineBlocks::FineBlocks(std::unique_ptr<Target> coarse, const Shape& shape)
    : Target(only(std::move(coarse))),
      coarse_bytes_(child(0).geometry().logical_block_bytes),
      begin_(shape.begin_bytes),
      whole_(shape.whole),
      memory_(kDesks * coarse_bytes_) {
  geometry_ = child(0).geometry();
  geometry_.size_bytes = shape.size_bytes;
  geometry_.logical_block_bytes = shape.block_bytes;
  // Alignment carries over to the child only up to that of the beginning.
  geometry_.physical_block_bytes =
      static_cast<uint32_t>(std::gcd(uint64_t{geometry_.physical_block_bytes}, begin_));
  geometry_.discard_granularity_bytes =
      std::max(geometry_.discard_granularity_bytes, static_cast<uint32_t>(coarse_bytes_));
  geometry_.max_io_bytes = 0;                        // the child's submit() splits
  geometry_.max_discard_bytes = 0;                   // likewise
  geometry_.can_prefetch = false;                    // it is there for direct I/O
  std::ranges::fill(memory_.bytes(), std::byte{0});  // faults the pages in
}

Result<uint64_t> FineBlocks::do_resize(std::optional<uint64_t> wanted) {
  const uint64_t mask = coarse_bytes_ - 1;
  if (!wanted && !whole_) return uint64_t{geometry_.size_bytes};
  const auto needed = wanted ? std::optional((begin_ + *wanted + mask) & ~mask) : std::nullopt;
  // As its size is rounded to its blocks, the child may already be large enough.
  const uint64_t now = child(0).geometry().size_bytes;
  auto size = needed && *needed <= now ? Result<uint64_t>(now) : child(0).resize(needed);
  if (!size || wanted) return size ? *wanted : size;
  return (*size - begin_) / geometry_.logical_block_bytes * geometry_.logical_block_bytes;
}

Task FineBlocks::do_submit(Request& request) {
  if (request.op == Op::flush) return child(0).submit(request);
  return serve_pieces(request);
}

// Sequentially: usually there is only one.
Task FineBlocks::serve_pieces(Request& request) {
  for (uint64_t done = 0; done < request.length;) {
    const Piece piece = first_piece(begin_ + request.offset + done, request.length - done);
    Request part = request.child(piece.place, piece.length);
    if (request.has_data()) {
      part.data = request.data.slice(static_cast<uint32_t>(done),
                                     static_cast<uint32_t>(piece.length), *request.arena);
    }
    done += piece.length;
    if (!piece.whole && request.op == Op::discard) continue;  // a partial block cannot be freed
    Task serving = piece.whole ? serve_blocks(part) : serve_at_desk(part);
    const Status status = co_await serving;
    if (!status.ok()) co_return status;
  }
  co_return kOk;
}

FineBlocks::Piece FineBlocks::first_piece(uint64_t place, uint64_t length) const {
  const uint64_t lead = place % coarse_bytes_;
  if (lead != 0 || length < coarse_bytes_) {
    return {.place = place, .length = std::min(length, coarse_bytes_ - lead), .whole = false};
  }
  return {.place = place, .length = length / coarse_bytes_ * coarse_bytes_, .whole = true};
}

// Whole blocks of the child. Direct I/O may refuse the memory's alignment, or its small pieces:
// then each block goes through a desk.
Task FineBlocks::serve_blocks(Request& request) {
  if (fits_memory(request)) {
    RangeLock::Hold hold(blocks_, *request.ring, request.offset, request.length,
                         RangeLock::Mode::shared);
    if (request.op != Op::read) co_await hold;
    Task serving = child(0).submit(request);
    const Status status = co_await serving;
    const bool may_be_memory = status.error() == EINVAL && request.has_data();
    if (!may_be_memory || request.data.loan()->piped()) co_return status;
  }
  for (uint64_t done = 0; done < request.length; done += coarse_bytes_) {
    Request part = request.child(request.offset + done, coarse_bytes_);
    part.data = request.data.slice(static_cast<uint32_t>(done),
                                   static_cast<uint32_t>(coarse_bytes_), *request.arena);
    Task serving = serve_at_desk(part);
    const Status status = co_await serving;
    if (!status.ok()) co_return status;
  }
  co_return kOk;
}

bool FineBlocks::fits_memory(const Request& request) const {
  if (!request.has_data()) return true;
  return std::ranges::all_of(request.data.segments(), [&](const Segment& piece) {
    return piece.offset % geometry_.memory_alignment_bytes == 0 &&
           piece.length % coarse_bytes_ == 0;
  });
}

Task FineBlocks::serve_at_desk(Request& request) {
  return request.op == Op::read ? read_at_desk(request) : change_at_desk(request);
}

// One block of the child, or a part of it.
Task FineBlocks::read_at_desk(Request& request) {
  const uint64_t block = request.offset / coarse_bytes_;
  RangeLock::Hold at_desk(desks_, *request.ring, block % kDesks, 1, RangeLock::Mode::exclusive);
  co_await at_desk;
  Task loading = load(request, block, desk(block));
  const Status loaded = co_await loading;
  if (!loaded.ok()) co_return loaded;
  auto copying = request.ring->copy_in(
      request.data, desk(block).subspan(request.offset % coarse_bytes_, request.length));
  co_return co_await copying;
}

Task FineBlocks::change_at_desk(Request& request) {
  const uint64_t block = request.offset / coarse_bytes_;
  RangeLock::Hold hold(blocks_, *request.ring, block * coarse_bytes_, coarse_bytes_,
                       RangeLock::Mode::exclusive);
  co_await hold;
  RangeLock::Hold at_desk(desks_, *request.ring, block % kDesks, 1, RangeLock::Mode::exclusive);
  co_await at_desk;
  if (request.length != coarse_bytes_) {
    Task loading = load(request, block, desk(block));
    const Status loaded = co_await loading;
    if (!loaded.ok()) co_return loaded;
  }
  const std::span<std::byte> changed =
      desk(block).subspan(request.offset % coarse_bytes_, request.length);
  if (request.op == Op::write) {
    auto copying = request.ring->copy_out(request.data, changed);
    const Status copied = co_await copying;
    if (!copied.ok()) co_return copied;
  } else {
    std::ranges::fill(changed, std::byte{0});
  }
  Task storing = store(request, block, desk(block));
  co_return co_await storing;
}

// Unfilled bytes would be those of another request (P-8).
Task FineBlocks::load(Request& request, uint64_t block, std::span<std::byte> desk) {
  PrivateLoan loan(Direction::destination, desk);
  Request reading = request.child(block * coarse_bytes_, loan.view());
  reading.op = Op::read;
  reading.fua = false;
  Task serving = child(0).submit(reading);
  const Status status = co_await serving;
  if (!status.ok()) co_return status;
  co_return reading.data.loan()->filled_bytes() == desk.size() ? kOk : Status::from_errno(EIO);
}

// As durable as the request.
Task FineBlocks::store(Request& request, uint64_t block, std::span<std::byte> desk) {
  PrivateLoan loan(Direction::source, desk);
  Request writing = request.child(block * coarse_bytes_, loan.view());
  writing.op = Op::write;
  Task serving = child(0).submit(writing);
  co_return co_await serving;
}

std::span<std::byte> FineBlocks::desk(uint64_t block) const {
  return memory_.bytes().subspan(block % kDesks * coarse_bytes_, coarse_bytes_);
}

}  // namespace sluice
