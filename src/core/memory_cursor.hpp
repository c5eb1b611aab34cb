// MemoryCursor: iterates over the memory of a loan, one contiguous run after the other.
//
//   for (MemoryCursor at(loan, offset); length != 0; at.skip(step)) { ... at.address() ... }
//
// A value, for the time of a call. Addresses are those that an SQE needs: offsets from 0 if only
// the kernel can access the pages. For a loan in several places the constructor searches linearly
// for `offset`.
#pragma once

#include <cstdint>
#include <span>

#include "core/loan.hpp"

namespace sluice {

class MemoryCursor {
 public:
  // `offset`: below the length of the loan.
  MemoryCursor(const Loan& loan, uint32_t offset) : vectors_(loan.vectors()) {
    if (vectors_.empty()) {
      address_ = reinterpret_cast<uint64_t>(loan.address()) + offset;
      left_ = loan.length() - offset;
      return;
    }
    while (offset >= vectors_.front().iov_len) {
      offset -= static_cast<uint32_t>(vectors_.front().iov_len);
      vectors_ = vectors_.subspan(1);
    }
    enter(offset);
  }

  uint64_t address() const { return address_; }
  // The number of contiguous bytes at this address; 0 at the end of the loan.
  uint32_t left() const { return left_; }
  // The loan's iovecs from this address on; empty unless an iovec begins here.
  std::span<const iovec> vectors() const { return begins_ ? vectors_ : std::span<const iovec>(); }

  // `bytes`: at most left().
  void skip(uint32_t bytes) {
    address_ += bytes;
    left_ -= bytes;
    begins_ = begins_ && bytes == 0;
    while (left_ == 0 && vectors_.size() > 1) {
      vectors_ = vectors_.subspan(1);
      enter(0);
    }
  }

 private:
  void enter(uint32_t offset) {
    address_ = reinterpret_cast<uint64_t>(vectors_.front().iov_base) + offset;
    left_ = static_cast<uint32_t>(vectors_.front().iov_len) - offset;
    begins_ = offset == 0;
  }

  std::span<const iovec> vectors_;  // from the current one on
  uint64_t address_ = 0;
  uint32_t left_ = 0;
  bool begins_ = false;
};

}  // namespace sluice
