// PipedFills: which pipes hold the bytes that have filled a piped READ request, and where in them.
//
// Owned by a Loan, which guards it. Consumers add in the order in which they are done; where they
// overlap, the later one counts, as it would in memory. Within one pipe the pieces ascend, so that
// the lender can take the request's bytes out in order.
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

  // Bytes that lie side by side in one pipe, `position` bytes after what was first put into it.
  struct Run {
    Pipe* pipe = nullptr;
    uint32_t position = 0;
    uint32_t length = 0;
  };
  // What holds the loan's bytes from `offset` on; no pipe where nothing does.
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
