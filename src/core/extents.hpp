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
#include <string_view>

namespace sluice {

struct Extent {
  static constexpr uint64_t kNoPlace = UINT64_MAX;

  uint64_t length = 0;      // bytes
  bool hole = false;        // no data is stored for it
  bool zero = false;        // it reads as zeroes
  bool allocated = true;    // a layer says what it is; otherwise none does
  bool compressed = false;  // stored as such
  uint32_t depth = 0;       // the layer that was asked last, by the number of layers above it
  // Where it is, if that is known and was asked for: the offset in bytes, unless it is nowhere as
  // such, and the file's name, which lives as long as the stack.
  uint64_t place = kNoPlace;
  std::string_view file = {};

  // Whether the target itself says what it is, and not a layer below it.
  bool allocated_here() const { return allocated && depth == 0; }
  // Its bytes from `begin` on, with another length.
  Extent part(uint64_t begin, uint64_t bytes) const {
    Extent rest = *this;
    rest.length = bytes;
    if (place != kNoPlace) rest.place += begin;
    return rest;
  }
  bool is_like(const Extent& other) const {
    return hole == other.hole && zero == other.zero && allocated == other.allocated &&
           compressed == other.compressed && depth == other.depth;
  }
  bool is_continued_by(const Extent& next) const {
    if (!is_like(next) || file != next.file) return false;
    return next.place == (place == kNoPlace ? kNoPlace : place + length);
  }
};

inline constexpr Extent kDataExtent{};
inline constexpr Extent kHoleExtent{.hole = true, .zero = true};
// In no layer.
inline constexpr Extent kNothingExtent{.hole = true, .zero = true, .allocated = false};

// What to tell extents apart by. The less, the longer they are.
enum class Detail : uint8_t {
  content,  // hole and zero
  layers,   // also allocated, compressed and depth
  places,   // also place and file
};

class Extents {
 public:
  static constexpr size_t kMax = 64;

  // For a range of this length.
  explicit Extents(uint64_t range_bytes, Detail detail = Detail::layers)
      : range_bytes_(range_bytes), detail_(detail) {}

  // Appends an extent: merges it with the last one if it continues that one, and cuts it at the end
  // of the range. False: the list is full, and the extent was left out.
  bool add(uint64_t length, const Extent& kind) {
    length = std::min(length, range_bytes_ - covered_);
    if (length == 0) return true;
    const Extent next = reduced(kind);
    if (count_ == 0 || !list_[count_ - 1].is_continued_by(next)) {
      if (count_ == kMax) return false;
      list_[count_] = next;
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
  Detail detail() const { return detail_; }
  uint64_t range_bytes() const { return range_bytes_; }
  uint64_t covered_bytes() const { return covered_; }
  bool complete() const { return covered_ == range_bytes_; }

 private:
  Extent reduced(Extent kind) const {
    if (detail_ == Detail::content) return {.hole = kind.hole, .zero = kind.zero};
    if (detail_ == Detail::layers) {
      kind.place = Extent::kNoPlace;
      kind.file = {};
    }
    return kind;
  }

  uint64_t range_bytes_;
  Detail detail_;
  uint64_t covered_ = 0;
  size_t count_ = 0;
  std::array<Extent, kMax> list_;
};

}  // namespace sluice
