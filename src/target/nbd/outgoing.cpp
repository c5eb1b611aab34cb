#include "target/nbd/outgoing.hpp"

namespace sluice::nbd::client {

Outgoing::Outgoing() : copies_(std::make_unique_for_overwrite<std::byte[]>(kCopiesBytes)) {}

void Outgoing::clear() {
  count_ = pieces_used_ = copied_ = 0;
  bytes_ = 0;
}

bool Outgoing::has_room() const {
  return count_ < kCallsMax && pieces_used_ + 1 < kPiecesMax && bytes_ < kBytesMax &&
         copied_ + kCopiedBytes <= kCopiesBytes;
}

void Outgoing::add(Call& call, std::span<std::byte> header) {
  calls_[count_++] = &call;
  add_piece(header);
}

bool Outgoing::add_payload(const Call& call) {
  const Loan* const loan = call.data.loan();
  const std::span<const Segment> segments = call.data.segments();
  if (loan->address() == nullptr || segments.size() > kPiecesMax - pieces_used_) return false;
  for (const Segment& each : segments) add_piece({loan->address() + each.offset, each.length});
  bytes_ += call.header.length;
  return true;
}

bool Outgoing::may_copy(const Call& call) {
  const Loan& loan = *call.data.loan();
  return call.header.length <= kCopiedBytes &&
         (loan.addressable() || loan.piped() || loan.copy_file().valid());
}

std::span<std::byte> Outgoing::add_copy(size_t bytes) {
  const std::span place(copies_.get() + copied_, bytes);
  add_piece(place);
  copied_ += bytes;
  bytes_ += bytes;
  return place;
}

void Outgoing::add_piece(std::span<std::byte> bytes) {
  pieces_[pieces_used_++] = {.iov_base = bytes.data(), .iov_len = bytes.size()};
}

}  // namespace sluice::nbd::client
