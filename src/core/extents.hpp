// Extents: the parts of a range that are data, hole or zero, as found by Target::extents().
//
// A bounded list of extents from the start of the range. It may end before the range does: the
// caller then asks again from that point.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

struct Extent {
  uint64_t length = 0;         // bytes
  bool hole = false;           // nothing is allocated for it
  bool zero = false;           // it reads as zeroes
  bool allocated_here = true;  // allocated in the target itself, not in a layer below it

  bool is_like(const Extent& other) const {
    return hole == other.hole && zero == other.zero && allocated_here == other.allocated_here;
  }
};

inline constexpr Extent kDataExtent{};
inline constexpr Extent kHoleExtent{.hole = true, .zero = true, .allocated_here = false};

class Extents {
 public:
  static constexpr size_t kMax = 64;

  // For a range of this length.
  explicit Extents(uint64_t range_bytes) : range_bytes_(range_bytes) {}

  // Appends an extent: merges it with the last one if they are alike, and cuts it at the end of the
  // range. False: the list is full, and the extent was left out.
  bool add(uint64_t length, const Extent& kind) {
    length = std::min(length, range_bytes_ - covered_);
    if (length == 0) return true;
    if (count_ == 0 || !list_[count_ - 1].is_like(kind)) {
      if (count_ == kMax) return false;
      list_[count_] = kind;
      list_[count_++].length = 0;
    }
    list_[count_ - 1].length += length;
    covered_ += length;
    return true;
  }
  // Appends all of `other`; false as above.
  bool add(const Extents& other) {
    return std::ranges::all_of(other.list(),
                               [this](const Extent& each) { return add(each.length, each); });
  }

  std::span<const Extent> list() const { return std::span(list_).first(count_); }
  uint64_t range_bytes() const { return range_bytes_; }
  uint64_t covered_bytes() const { return covered_; }
  bool complete() const { return covered_ == range_bytes_; }

 private:
  uint64_t range_bytes_;
  uint64_t covered_ = 0;
  size_t count_ = 0;
  std::array<Extent, kMax> list_;
};

}  // namespace sluice
