// PipedFills: the pipes that hold the bytes of a piped READ request, and the position of each byte
// range.
//
// Owned by a Loan, which guards it. Consumers add ranges in order of completion; where ranges
// overlap, the later one wins, as in memory. Within one pipe the pieces ascend, so that the lender
// can take the request's bytes out in order.
#pragma once

#include <vector>

#include "core/pipe.hpp"
#include "core/segment.hpp"

namespace sluice {

class PipedFills {
 public:
  // The next `piece.length` bytes of `pipe` are these bytes of the loan.
  void add(Segment piece, Pipe& pipe);
  void clear();

  // Contiguous bytes in one pipe, `position` bytes after the first byte ever put into it.
  struct Run {
    Pipe* pipe = nullptr;
    uint32_t position = 0;
    uint32_t length = 0;
  };
  // The run that holds the loan's bytes from `offset` on; its pipe is null if none does.
  Run run_at(uint32_t offset) const;

  // All pipes that hold bytes, linked by `next`.
  Pipe* pipes() const { return pipes_; }

 private:
  static constexpr uint32_t kReserved = 8;  // as in FillMap

  struct Piece {
    Segment where;
    Pipe* pipe;
    uint32_t position;
  };
  std::vector<Piece> pieces_;  // oldest first
  Pipe* pipes_ = nullptr;
};

}  // namespace sluice
