// FillMap: which bytes of a READ request's buffer have been filled (P-8).
//
// Owned by a Loan, which guards it. Overlapping fills count once, so a completion can be held
// against what was really filled and not against a sum.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

class FillMap {
 public:
  void clear() { extents_.clear(); }
  void add(uint32_t begin, uint32_t end);
  bool covers(uint32_t begin, uint32_t end) const;
  uint32_t filled_bytes() const;

 private:
  // More pieces than most stripes cut a request into: room is made for them once, with the first.
  static constexpr uint32_t kReserved = 8;

  struct Extent {
    uint32_t begin;
    uint32_t end;
  };
  std::vector<Extent> extents_;  // sorted, disjoint, not touching
};

}  // namespace sluice
