// BufferTable: the table of registered buffers that GET_BUF fills (S86), over loans: each slot is
// empty or holds a lent buffer, under a number that the program chose (S98).
//
//   auto table = lend::BufferTable::create(64);
//   lend::GetBuf getting(*table, 3, provider, at, length);        src/lend/get_buf.hpp
//
// What is lent already needs no system call here and no SQE. A buffer goes back when its slot is
// emptied and the last operation that uses it has ended, whichever comes last (S95): its lender
// hears of it in that moment, once, for all of the buffer (P-1, P-2). So it does where the table
// ends (S104).
//
// Belongs to one ring and is used by that ring's thread only. Of fixed size; each call takes the
// same short time however full it is (P-18).
#pragma once

#include <cstdint>
#include <vector>

#include "core/error.hpp"
#include "core/view.hpp"

namespace sluice::lend {

class BufferTable {
 public:
  static constexpr uint32_t kMaxSlots = 16384;  // as in the kernel (S103)

  // All slots empty. EINVAL: none, or more than kMaxSlots.
  static Result<BufferTable> create(uint32_t slots);

  uint32_t slots() const { return static_cast<uint32_t>(slots_.size()); }

  // Which slots a buffer may go into: those with another one as well, which goes back (S97)?
  enum class Into : uint8_t { empty, any };

  // EINVAL: no such slot; EBUSY: it is taken; or what `lent` says. Then the table is as it was, and
  // `lent` goes straight back (S90).
  Status install(uint32_t slot, View lent, Into into = Into::empty) noexcept;
  // EINVAL: no such slot, or nothing in it (S117).
  Status remove(uint32_t slot) noexcept;

  // The bytes of `piece` of what is in a slot now (S92, S119), as a reference of its own. EINVAL:
  // no such slot; EFAULT: it is empty, or they are beyond its buffer.
  View use(uint32_t slot, Segment piece, Arena& arena) const noexcept;

  // Whose buffer is in a slot; null: nobody's.
  const Loan* holder(uint32_t slot) const noexcept;

 private:
  explicit BufferTable(uint32_t slots) : slots_(slots) {}

  std::vector<View> slots_;  // an empty one has no loan
};

}  // namespace sluice::lend
