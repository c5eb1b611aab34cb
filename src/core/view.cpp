#include "core/view.hpp"

#include <algorithm>
#include <limits>

#include "core/arena.hpp"

namespace sluice {

View View::slice(uint32_t offset, uint32_t length, Arena& arena) const noexcept {
  const Segment piece{offset, length};
  return select({&piece, 1}, arena);
}

View View::select(std::span<const Segment> pieces, Arena& arena) const noexcept {
  if (error_ != 0) return broken(error_);
  uint64_t total = 0;
  for (const Segment& piece : pieces) {
    if (piece.offset > length_ || piece.length > length_ - piece.offset) return broken(EFAULT);
    total += piece.length;
  }
  if (total > std::numeric_limits<uint32_t>::max()) return broken(EFAULT);

  View chosen = hold(static_cast<uint32_t>(total));
  if (count_ == 1 && pieces.size() == 1) {
    chosen.set_single({single_.offset + pieces[0].offset, pieces[0].length});
    return chosen;
  }
  uint32_t count = 0;
  for_each_part(pieces, [&](Segment) { ++count; });
  const std::span<Segment> parts = arena.array<Segment>(count);
  uint32_t next = 0;
  for_each_part(pieces, [&](Segment part) { parts[next++] = part; });
  if (count == 1) {
    chosen.set_single(parts[0]);
  } else {
    chosen.count_ = count;
    chosen.pieces_ = parts.data();
    chosen.arena_ = &arena;
  }
  return chosen;
}

// A further reference to the same loan, still without pieces.
View View::hold(uint32_t length) const noexcept {
  loan_->acquire();
  View view;
  view.loan_ = loan_;
  view.length_ = length;
  view.error_ = 0;
  return view;
}

void View::set_single(Segment piece) noexcept {
  count_ = 1;
  single_ = piece;
}

// Calls `visit` with the parts of the loan that `pieces` of this view stand for, in order. Pieces
// mostly ascend, so the walk goes on from where the last piece ended and starts again only when it
// has to.
template <typename Visit>
void View::for_each_part(std::span<const Segment> pieces, Visit visit) const noexcept {
  const std::span<const Segment> own = segments();
  size_t index = 0;
  uint32_t begin = 0;  // where own[index] begins in this view
  for (Segment piece : pieces) {
    if (piece.offset < begin) index = begin = 0;
    while (piece.length != 0) {
      while (piece.offset >= begin + own[index].length) begin += own[index++].length;
      const uint32_t skip = piece.offset - begin;
      const uint32_t length = std::min(piece.length, own[index].length - skip);
      visit(Segment{own[index].offset + skip, length});
      piece.offset += length;
      piece.length -= length;
    }
  }
}

View View::broken(int error) noexcept {
  View view;
  view.error_ = error;
  return view;
}

}  // namespace sluice
