#include "lend/buffer_table.hpp"

#include <fmt/format.h>

namespace sluice::lend {

Result<BufferTable> BufferTable::create(uint32_t slots) {
  if (slots != 0 && slots <= kMaxSlots) return BufferTable(slots);
  return fail(EINVAL, fmt::format("a buffer table has 1 to {} slots, not {}", kMaxSlots, slots));
}

Status BufferTable::install(uint32_t slot, View lent, Into into) noexcept {
  if (slot >= slots_.size()) return Status::from_errno(EINVAL);
  if (into == Into::empty && holder(slot) != nullptr) return Status::from_errno(EBUSY);
  if (!lent.status().ok()) return lent.status();
  slots_[slot] = std::move(lent);
  return kOk;
}

Status BufferTable::remove(uint32_t slot) noexcept {
  if (holder(slot) == nullptr) return Status::from_errno(EINVAL);
  slots_[slot].drop();
  return kOk;
}

View BufferTable::use(uint32_t slot, Segment piece, Arena& arena) const noexcept {
  if (slot >= slots_.size()) return View::broken(EINVAL);
  return slots_[slot].slice(piece.offset, piece.length, arena);
}

const Loan* BufferTable::holder(uint32_t slot) const noexcept {
  return slot < slots_.size() ? slots_[slot].loan() : nullptr;
}

}  // namespace sluice::lend
