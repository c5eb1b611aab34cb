#include "target/metadata/block_pins.hpp"

#include "target/metadata/metadata_cache.hpp"

namespace sluice {

void ReadPin::release() {
  if (!held()) return;
  CachedBlock& slot = *std::exchange(slot_, nullptr);
  cache_->state_.let_go(slot, slot.pins.end_read(buffer_), *ring_);
}

BlockVersion WritePin::publish() {
  assert(held());
  return cache_->publish(*this);
}

void WritePin::abandon() {
  if (held()) cache_->abandon(*this);
}

}  // namespace sluice
