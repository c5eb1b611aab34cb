// Operations on memory that has an address: copies, and vectored I/O where the pieces of a view or
// the memory of a loan are in several places.
#include <algorithm>
#include <cstring>

#include "core/arena.hpp"
#include "core/memory_cursor.hpp"
#include "ring/abi.hpp"
#include "ring/operation.hpp"
#include "ring/ring.hpp"

namespace sluice {

void Operation::copy_mapped() {
  Loan& loan = *plan_.view.loan();
  for (const Segment& piece : plan_.view.segments()) {
    MemoryCursor at(loan, piece.offset);
    for (uint32_t left = piece.length; left != 0;) {
      const uint32_t step = std::min(left, at.left());
      auto* const place = reinterpret_cast<std::byte*>(at.address());
      switch (plan_.verb) {
        case Verb::copy_in:
          std::memcpy(place, plan_.memory + moved_, step);
          break;
        case Verb::copy_out:
          std::memcpy(plan_.memory + moved_, place, step);
          break;
        default:
          std::memset(place, 0, step);
          break;
      }
      moved_ += step;
      left -= step;
      at.skip(step);
    }
    if (fills()) loan.fill(piece);
  }
  if (plan_.verb != Verb::zero) ring_.counters_.copied_bytes += moved_;
}

// Moves all remaining bytes in one operation if the kernel can do that; otherwise only the next
// contiguous bytes, and go_on() continues with the rest.
void Operation::prepare_vectored(io_uring_sqe& sqe) {
  const Loan& loan = *plan_.view.loan();
  const bool fixed = loan.slot() != Loan::kNoSlot;
  std::span<const iovec> vectors;
  if (!plan_.view.scattered()) {
    vectors = lent_vectors();
  } else if (!fixed || ring_.abilities().vectored_fixed) {
    vectors = gathered_vectors();
  }
  if (vectors.empty()) return prepare_file_io(sqe, current_run());
  const int op = fills() ? (fixed ? int{abi::kOpReadvFixed} : int{IORING_OP_READV})
                         : (fixed ? int{abi::kOpWritevFixed} : int{IORING_OP_WRITEV});
  io_uring_prep_rw(op, &sqe, plan_.file.number, vectors.data(),
                   static_cast<uint32_t>(vectors.size()), plan_.offset + moved_);
  if (fixed) sqe.buf_index = static_cast<uint16_t>(loan.slot());
  sqe.rw_flags = static_cast<int>(plan_.flags);
}

// The addresses of all pieces, listed in the arena of the view.
std::span<const iovec> Operation::gathered_vectors() {
  const Loan& loan = *plan_.view.loan();
  const std::span<const Segment> pieces = plan_.view.segments();
  const size_t most = std::min<size_t>(pieces.size() + loan.vectors().size(), abi::kMaxVectors);
  if (vectors_ == nullptr) vectors_ = plan_.view.arena()->array<iovec>(most).data();
  size_t count = 0;
  uint32_t room = abi::kMaxTransferBytes;
  for (uint32_t i = piece_; i < pieces.size() && count < most && room != 0; ++i) {
    const Segment piece = i == piece_ ? current_piece() : pieces[i];
    MemoryCursor at(loan, piece.offset);
    for (uint32_t left = piece.length; left != 0 && count < most && room != 0;) {
      const uint32_t step = std::min({left, at.left(), room});
      vectors_[count++] = {reinterpret_cast<void*>(at.address()), step};
      left -= step;
      room -= step;
      at.skip(step);
    }
  }
  return {vectors_, count};
}

// The whole vectors of the loan with which the rest of the only piece begins, as the lender has
// listed them. Empty if there are fewer than two.
std::span<const iovec> Operation::lent_vectors() const {
  const Segment piece = current_piece();
  const std::span<const iovec> vectors = MemoryCursor(*plan_.view.loan(), piece.offset).vectors();
  const size_t most = std::min<size_t>(vectors.size(), abi::kMaxVectors);
  size_t count = 0;
  for (size_t bytes = 0; count < most; ++count) {
    bytes += vectors[count].iov_len;
    if (bytes > piece.length) break;
  }
  return count < 2 ? std::span<const iovec>() : vectors.first(count);
}

}  // namespace sluice
