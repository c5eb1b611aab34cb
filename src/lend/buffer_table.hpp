// BufferTable: the table of registered buffers that GET_BUF fills (S86), over loans: each slot is
// empty or holds a lent buffer, under a number that the program chose (S98).
//
//   auto table = lend::BufferTable::create(64);
//   lend::GetBuf getting(*table, 3, provider, at, length);        src/lend/get_buf.hpp
//
// Installing a lent buffer needs no system call and no SQE. A buffer is released when its slot is
// cleared and the last operation that uses it has ended, whichever is later (S95): its lender is
// notified at that moment, once, for the whole buffer (P-1, P-2). The same happens when the table
// is destroyed (S104).
//
// Belongs to one ring and is used by that ring's thread only. Its size is fixed; each call takes
// constant time (P-18).
#pragma once

#include <cstdint>
#include <vector>

#include "core/error.hpp"
#include "core/loan.hpp"

namespace sluice::lend {

class BufferTable {
 public:
  static constexpr uint32_t kMaxSlots = 16384;  // as in the kernel (S103)

  // All slots are empty. EINVAL: `slots` is 0, or more than kMaxSlots.
  static Result<BufferTable> create(uint32_t slots);

  uint32_t slots() const { return static_cast<uint32_t>(slots_.size()); }

  // Whether a buffer may replace another one, which is then released (S97).
  enum class Into : uint8_t { empty, any };

  // EINVAL: no such slot; EBUSY: it is taken; or the error of `lent`. On an error the table does
  // not change, and `lent` is released at once (S90).
  Status install(uint32_t slot, View lent, Into into = Into::empty) noexcept;
  // EINVAL: no such slot, or an empty one (S117).
  Status remove(uint32_t slot) noexcept;

  // The bytes of `piece` of the buffer now in a slot (S92, S119), as a separate reference. EINVAL:
  // no such slot; EFAULT: it is empty, or the piece is outside its buffer.
  View use(uint32_t slot, Segment piece, Arena& arena) const noexcept;

  // The loan whose buffer is in a slot; null if empty.
  const Loan* holder(uint32_t slot) const noexcept;

 private:
  explicit BufferTable(uint32_t slots) : slots_(slots) {}

  std::vector<View> slots_;  // an empty slot has no loan
};

}  // namespace sluice::lend
