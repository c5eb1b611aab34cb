// FillMap: the ranges of a READ request's buffer that have been filled (P-8).
//
// Owned by a Loan, which guards it. Overlapping fills count once, so a completion can be checked
// against the bytes filled rather than a sum of lengths.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

class FillMap {
 public:
  // Allocates the memory that most reads need, so that add() does not have to.
  void reserve() { extents_.reserve(kReserved); }
  void clear() { extents_.clear(); }
  void add(uint32_t begin, uint32_t end);
  bool covers(uint32_t begin, uint32_t end) const;
  uint32_t filled_bytes() const;

 private:
  // More extents than a request on most stripes has.
  static constexpr uint32_t kReserved = 8;

  struct Extent {
    uint32_t begin;
    uint32_t end;
  };
  std::vector<Extent> extents_;  // sorted, disjoint, not touching
};

}  // namespace sluice
