#include "target/crypt/crypt_target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "core/gather.hpp"
#include "core/memory_cursor.hpp"
#include "ring/ring.hpp"
#include "spec/size.hpp"

namespace sluice::crypt {
namespace {

constexpr uint32_t kPieceBytes = 64 << 10;
constexpr uint32_t kPiecesTogether = 4;  // of one request; bounds its arena
constexpr uint32_t kBuffers = 64;
constexpr uint32_t kControlBuffers = 4;  // of the control reactor, which has few requests

// Calls `work` with each contiguous part of the memory, until one returns false.
template <typename Work>
bool for_each_part(const View& data, Work work) {
  for (const Segment& segment : data.segments()) {
    uint32_t left = segment.length;
    if (left == 0) continue;
    for (MemoryCursor at(*data.loan(), segment.offset); left != 0;) {
      const uint32_t bytes = std::min(left, at.left());
      if (!work(std::span(reinterpret_cast<std::byte*>(at.address()), bytes))) return false;
      at.skip(bytes);
      left -= bytes;
    }
  }
  return true;
}

}  // namespace

CryptTarget::CryptTarget(Children children, Layout layout, Secret key, const Geometry& geometry)
    : Target(std::move(children)), layout_(std::move(layout)), key_(std::move(key)) {
  geometry_ = geometry;
}

// --- Life.

Task CryptTarget::start(Request& request, LifeCall&) {
  control_ring_ = request.ring;
  return kOk;
}

Task CryptTarget::attach(Request& request, LifeCall& call) {
  auto here = std::make_unique<OnRing>();
  auto cipher = SectorCipher::create(layout_.cipher, key_.bytes(), layout_.sector_bytes);
  if (!cipher) return call.fail(cipher.error().error, cipher.error().text);
  here->cipher = std::move(*cipher);
  const uint32_t buffers = request.ring == control_ring_ ? kControlBuffers : kBuffers;
  auto pool = BufferPool::create(*request.ring, kPieceBytes, buffers);
  if (!pool) return call.fail(pool.error().error, pool.error().text);
  here->pool = std::move(*pool);
  auto reserve = here->pool->reserve(buffers);
  if (!reserve) return call.fail(reserve.error().error, reserve.error().text);
  here->buffers = std::move(*reserve);
  if (!here->pool->risk().empty()) {
    const std::scoped_lock guard(mutex_);
    risk_ = here->pool->risk();
  }
  on_ring_.put(*request.ring, std::move(here));
  return kOk;
}

Task CryptTarget::detach(Request& request, LifeCall&) {
  on_ring_.take(*request.ring);
  return kOk;
}

Task CryptTarget::stop(Request&, LifeCall&) {
  control_ring_ = nullptr;
  return kOk;
}

std::string CryptTarget::swap_risk() const {
  {
    const std::scoped_lock guard(mutex_);
    if (!risk_.empty()) return risk_;
  }
  return Target::swap_risk();
}

Result<uint64_t> CryptTarget::do_resize(std::optional<uint64_t> wanted) {
  if (layout_.data_bytes) {
    return fail(EOPNOTSUPP,
                "the header of the encrypted volume gives its size, which only "
                "cryptsetup can change");
  }
  const auto there = wanted ? std::optional(layout_.data_offset + *wanted) : std::nullopt;
  if (wanted && *wanted > kSizeMax - layout_.data_offset) {
    return fail(EFBIG, "no device can exceed 8 EiB: ask for less");
  }
  auto size = child(0).resize(there);
  if (!size || wanted) return size ? wanted.value() : size;
  const uint64_t block = geometry_.logical_block_bytes;
  return (*size - std::min(*size, layout_.data_offset)) / block * block;
}

// --- Requests.

// write_zeroes does not come here: Target::submit() writes zeroes, which are enciphered.
Task CryptTarget::do_submit(Request& request) {
  switch (request.op) {
    case Op::read:
    case Op::write:
      return transfer(request);
    case Op::flush:
      return child(0).submit(request);
    case Op::discard:
    case Op::prefetch:
      return forward(request, child(0), layout_.data_offset + request.offset);
    case Op::write_zeroes:
      break;
  }
  return Status::from_errno(EOPNOTSUPP);
}

Task CryptTarget::transfer(Request& request) {
  OnRing* const here = on_ring_.of(*request.ring);
  if (here == nullptr) return Status::from_errno(ENOTCONN);
  if (request.length <= kPieceBytes) return transfer_pieces(request, *here, nullptr);
  return transfer_together(request, *here);
}

Task CryptTarget::transfer_together(Request& request, OnRing& here) {
  Pieces pieces(request, kPieceBytes);
  const uint64_t together = std::min<uint64_t>(pieces.count(), kPiecesTogether);
  Gather all(request, together);
  for (uint64_t i = 0; i < together; ++i) all.add(transfer_pieces(request, here, &pieces));
  co_return co_await all;
}

Task CryptTarget::transfer_pieces(Request& request, OnRing& here, Pieces* shared) {
  return request.op == Op::read ? read_pieces(request, here, shared)
                                : write_pieces(request, here, shared);
}

// `shared`: null if there is one that serves the request. An error ends all.
Task CryptTarget::read_pieces(Request& request, OnRing& here, Pieces* shared) {
  Pieces own(request, kPieceBytes);
  Pieces& pieces = shared != nullptr ? *shared : own;
  const bool in_place = has_whole_sectors(request.data);
  PooledBuffer buffer;
  if (!in_place) {
    auto waiting = here.buffers->take();
    buffer = co_await waiting;
  }
  for (Piece piece; pieces.take(request, piece);) {
    const auto& [done, bytes, data] = piece;
    Status status;
    {
      Request part =
          part_of(request, done, in_place ? data : buffer.lend(Direction::destination, bytes));
      Task reading = child(0).submit(part);
      status = co_await reading;
    }
    const uint64_t number = number_of(request, done);
    if (status.ok() && in_place && !decrypt_there(here, number, data)) status = report(request);
    if (status.ok() && !in_place) {
      const auto there = buffer.bytes().first(bytes);
      if (here.cipher->decrypt(number, there, there.data())) {
        auto copying = request.ring->copy_in(data, there);
        status = co_await copying;
      } else {
        status = report(request);
      }
    }
    if (!status.ok()) {
      pieces.give_up();
      co_return status;
    }
  }
  co_return kOk;
}

Task CryptTarget::write_pieces(Request& request, OnRing& here, Pieces* shared) {
  Pieces own(request, kPieceBytes);
  Pieces& pieces = shared != nullptr ? *shared : own;
  const bool is_whole = has_whole_sectors(request.data);
  auto waiting = here.buffers->take();
  PooledBuffer buffer = co_await waiting;
  for (Piece piece; pieces.take(request, piece);) {
    const auto& [done, bytes, data] = piece;
    const auto there = buffer.bytes().first(bytes);
    const uint64_t number = number_of(request, done);
    Status status;
    if (is_whole) {
      if (!encrypt_from(here, number, data, there.data())) status = report(request);
    } else {
      auto copying = request.ring->copy_out(data, there);
      status = co_await copying;
      if (status.ok() && !here.cipher->encrypt(number, there, there.data())) {
        status = report(request);
      }
    }
    if (status.ok()) {
      Request part = part_of(request, done, buffer.lend(Direction::source, bytes));
      Task writing = child(0).submit(part);
      status = co_await writing;
    }
    if (!status.ok()) {
      pieces.give_up();
      co_return status;
    }
  }
  co_return kOk;
}

Request CryptTarget::part_of(const Request& request, uint64_t done, View data) const {
  return request.child(layout_.data_offset + request.offset + done, std::move(data));
}

uint64_t CryptTarget::number_of(const Request& request, uint64_t done) const {
  return layout_.first_number + (request.offset + done) / kSectorUnitBytes;
}

// True if the memory has addresses, and no sector lies in two places.
bool CryptTarget::has_whole_sectors(const View& data) const {
  if (!data.loan()->addressable()) return false;
  return for_each_part(
      data, [&](std::span<std::byte> part) { return part.size() % layout_.sector_bytes == 0; });
}

bool CryptTarget::decrypt_there(OnRing& here, uint64_t number, const View& data) const {
  return for_each_part(data, [&](std::span<std::byte> part) {
    const uint64_t first = number;
    number += part.size() / kSectorUnitBytes;
    return here.cipher->decrypt(first, part, part.data());
  });
}

bool CryptTarget::encrypt_from(OnRing& here, uint64_t number, const View& data,
                               std::byte* to) const {
  return for_each_part(data, [&](std::span<std::byte> part) {
    const uint64_t first = number;
    std::byte* const there = to;
    number += part.size() / kSectorUnitBytes;
    to += part.size();
    return here.cipher->encrypt(first, part, there);
  });
}

Status CryptTarget::report(const Request& request) const {
  errors_.report(request, EIO, "OpenSSL cannot encipher");
  return Status::from_errno(EIO);
}

}  // namespace sluice::crypt
