#include "core/piped_fills.hpp"

#include <algorithm>
#include <cassert>

namespace sluice {

void PipedFills::add(Segment piece, Pipe& pipe) {
  const uint32_t position = pipe.put_bytes;
  if (position == 0) {
    pipe.next = pipes_;
    pipes_ = &pipe;
  }
  pipe.put_bytes += piece.length;
  if (!pieces_.empty()) {
    Piece& last = pieces_.back();
    if (last.pipe == &pipe && last.where.end() == piece.offset) {
      last.where.length += piece.length;
      return;
    }
    assert((last.pipe != &pipe || last.where.end() < piece.offset) && "they ascend in a pipe");
  }
  if (pieces_.empty()) pieces_.reserve(kReserved);
  pieces_.push_back({piece, &pipe, position});
}

void PipedFills::clear() {
  pieces_.clear();
  pipes_ = nullptr;
}

PipedFills::Run PipedFills::run_at(uint32_t offset) const {
  uint32_t end = UINT32_MAX;  // the start of a later piece
  for (size_t i = pieces_.size(); i != 0; --i) {
    const auto& [where, pipe, position] = pieces_[i - 1];
    if (offset < where.offset) {
      end = std::min(end, where.offset);
    } else if (offset < where.end()) {
      end = std::min(end, where.end());
      return {pipe, position + (offset - where.offset), end - offset};
    }
  }
  return {};
}

}  // namespace sluice
