#include "target/mirror/intents.hpp"

#include <algorithm>
#include <bit>

namespace sluice::mirror {

Intents::Intents(const Uuid& array, const IntentLayout& layout, uint64_t capacity)
    : array_(array),
      capacity_(capacity),
      layout_(layout),
      regions_(layout.data_bytes, layout.region_bytes, capacity * kIntentRegions),
      wanted_(capacity * kIntentWords) {
  set_size(layout.data_bytes);
}

void Intents::set_size(uint64_t data_bytes) {
  const uint64_t before = regions_.count();
  layout_.data_bytes = data_bytes;
  regions_.set_size(data_bytes);
  for (uint64_t region = regions_.count(); region < before; ++region) {
    wanted_[region / 64].fetch_and(~(uint64_t{1} << region % 64));
  }
  while (blocks_.size() < blocks()) blocks_.emplace_back();
}

void Intents::want(uint64_t first, uint64_t last) {
  for (uint64_t region = first; region <= last; ++region) {
    wanted_[region / 64].fetch_or(uint64_t{1} << region % 64);
  }
}

bool Intents::are_durable(uint64_t first, uint64_t last) const {
  for (uint64_t region = first; region <= last; ++region) {
    if (!regions_.is_durable(region)) return false;
  }
  return true;
}

std::span<std::byte> Intents::compose(uint64_t block) {
  std::vector<uint64_t>& words = blocks_[block].composed;
  std::ranges::transform(wanted_in(block), words.begin(),
                         [](const auto& word) { return word.load(std::memory_order_acquire); });
  const auto bytes = blocks_[block].bytes.bytes();
  encode_intent_block(array_, block, words, bytes);
  return bytes;
}

void Intents::note_written(uint64_t block) {
  const std::vector<uint64_t>& words = blocks_[block].composed;
  for (uint64_t at = 0; at < kIntentWords; ++at) {
    for (uint64_t word = words[at]; word != 0; word &= word - 1) {
      const uint64_t bit = static_cast<uint64_t>(std::countr_zero(word));
      const uint64_t region = (block * kIntentWords + at) * 64 + bit;
      if (!regions_.is_durable(region)) regions_.note_durable(region);
    }
  }
}

bool Intents::drop(uint64_t region) {
  if (!regions_.clear(region)) return false;
  wanted_[region / 64].fetch_and(~(uint64_t{1} << region % 64));
  return true;
}

}  // namespace sluice::mirror
