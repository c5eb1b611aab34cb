// CopyPieces: what a copy of a disk has to do, in pieces, from the extents of its source.
//
// Values only. The pieces come in the order of the disk, without gaps or overlaps, and begin at
// multiples of `align_bytes`.
#pragma once

#include <cstdint>
#include <deque>
#include <span>

#include "core/extents.hpp"

namespace sluice::image {

struct CopyPiece {
  enum class Kind : uint8_t {
    data,  // to be read, and written
    zero,  // to be zeroed without reading it
  };
  uint64_t offset = 0;
  uint64_t length = 0;
  Kind kind = Kind::data;
};

class CopyPieces {
 public:
  struct Rules {
    uint64_t begin = 0;  // a multiple of align_bytes
    uint64_t end = 0;
    uint64_t align_bytes = 4096;     // a power of two
    uint64_t piece_bytes = 1 << 20;  // the longest with data; a multiple of align_bytes
    bool reads_all = false;          // holes are data like all else
    bool target_is_zero = true;      // what is zero needs no work
    bool skips_unallocated = false;  // the target has it already, if the source itself has not
  };

  explicit CopyPieces(const Rules& rules) : rules_(rules), found_(rules.begin), cut_(rules.begin) {}

  // The extents from found_until() on.
  void add(std::span<const Extent> extents);
  // Up to here the extents are known.
  uint64_t found_until() const { return found_; }
  bool all_found() const { return found_ == rules_.end; }

  // The next piece; false: none is known at the moment.
  bool take(CopyPiece& piece);
  // Up to here the pieces are cut: all of them, once all extents are found.
  uint64_t cut_until() const { return cut_; }
  // The bytes of the pieces that can be taken.
  uint64_t ready_bytes() const { return ready_; }
  // Everything before it has been taken, or needs no work.
  uint64_t taken_until() const { return pieces_.empty() ? cut_ : pieces_.front().offset; }

 private:
  enum class Work : uint8_t { data, zero, none };

  Work work_of(const Extent& extent) const;
  void cut(uint64_t end, Work work);

  const Rules rules_;
  uint64_t found_;  // end of the extents
  uint64_t cut_;    // end of the pieces
  uint64_t ready_ = 0;
  std::deque<CopyPiece> pieces_;
};

}  // namespace sluice::image
