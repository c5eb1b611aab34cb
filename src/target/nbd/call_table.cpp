#include "target/nbd/call_table.hpp"

namespace sluice::nbd::client {

CallTable::CallTable() : slots_(std::make_unique<Call*[]>(kSlots)) {
  free_.reserve(kSlots);
  for (uint32_t slot = kSlots; slot-- != 0;) free_.push_back(slot);
}

void CallTable::add(Call& call) {
  call.slot_ = free_.back();
  free_.pop_back();
  slots_[call.slot_] = &call;
  call.header.cookie = uint64_t{++generation_} << 32 | call.slot_;
  if (is_large_read(call)) ++large_reads_;
}

void CallTable::remove(Call& call) {
  slots_[call.slot_] = nullptr;
  free_.push_back(call.slot_);
  if (is_large_read(call)) --large_reads_;
}

Call* CallTable::find(uint64_t cookie) const {
  const auto slot = static_cast<uint32_t>(cookie);
  if (slot >= kSlots || slots_[slot] == nullptr) return nullptr;
  Call* const call = slots_[slot];
  return call->header.cookie == cookie && !call->answered_ ? call : nullptr;
}

}  // namespace sluice::nbd::client
