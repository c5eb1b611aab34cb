#include "image/copy_pieces.hpp"

#include <algorithm>

namespace sluice::image {
namespace {

// Where zeroes have to be written as data, several pieces are at once.
constexpr uint64_t kZeroBytesMost = 256 << 20;

}  // namespace

// What is not aligned counts as data, together with its neighbours: then it is read, whatever it
// is.
void CopyPieces::add(std::span<const Extent> extents) {
  const uint64_t mask = rules_.align_bytes - 1;
  for (const Extent& each : extents) {
    const uint64_t begin = found_;
    found_ = std::min(begin + each.length, rules_.end);
    const bool is_last = found_ == rules_.end;
    const Work work = work_of(each);
    if (work == Work::data) {
      cut(is_last ? found_ : (found_ + mask) & ~mask, work);
      continue;
    }
    if (cut_ < begin) cut((begin + mask) & ~mask, Work::data);
    cut(is_last ? found_ : found_ & ~mask, work);
  }
}

CopyPieces::Work CopyPieces::work_of(const Extent& extent) const {
  if (rules_.skips_unallocated && !extent.allocated_here()) return Work::none;
  if (!extent.zero || rules_.reads_all) return Work::data;
  return rules_.target_is_zero ? Work::none : Work::zero;
}

// The next pieces, up to `end`, unless that is covered already.
void CopyPieces::cut(uint64_t end, Work work) {
  end = std::min(end, rules_.end);
  if (end <= cut_) return;
  if (work != Work::none) {
    const auto kind = work == Work::data ? CopyPiece::Kind::data : CopyPiece::Kind::zero;
    CopyPiece* const last = pieces_.empty() ? nullptr : &pieces_.back();
    if (last != nullptr && last->kind == kind && last->offset + last->length == cut_) {
      last->length += end - cut_;
    } else {
      pieces_.push_back({.offset = cut_, .length = end - cut_, .kind = kind});
    }
    ready_ += end - cut_;
  }
  cut_ = end;
}

bool CopyPieces::take(CopyPiece& piece) {
  if (pieces_.empty()) return false;
  CopyPiece& first = pieces_.front();
  piece = first;
  const uint64_t most = first.kind == CopyPiece::Kind::data ? rules_.piece_bytes : kZeroBytesMost;
  const uint64_t until = (first.offset / most + 1) * most;
  piece.length = std::min(first.length, until - first.offset);
  first.offset += piece.length;
  first.length -= piece.length;
  if (first.length == 0) pieces_.pop_front();
  ready_ -= piece.length;
  return true;
}

}  // namespace sluice::image
