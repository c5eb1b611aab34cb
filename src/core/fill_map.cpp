#include "core/fill_map.hpp"

#include <algorithm>

namespace sluice {

void FillMap::add(uint32_t begin, uint32_t end) {
  if (begin >= end) return;
  if (extents_.empty()) reserve();
  // [first, last) are the extents that touch or overlap the new one.
  const auto first = std::ranges::lower_bound(extents_, begin, {}, &Extent::end);
  auto last = first;
  for (; last != extents_.end() && last->begin <= end; ++last) {
    begin = std::min(begin, last->begin);
    end = std::max(end, last->end);
  }
  if (first == last) {
    extents_.insert(first, {begin, end});
    return;
  }
  *first = {begin, end};
  extents_.erase(first + 1, last);
}

bool FillMap::covers(uint32_t begin, uint32_t end) const {
  if (begin >= end) return true;
  const auto first = std::ranges::lower_bound(extents_, end, {}, &Extent::end);
  return first != extents_.end() && first->begin <= begin;
}

uint32_t FillMap::filled_bytes() const {
  uint32_t bytes = 0;
  for (const Extent& extent : extents_) bytes += extent.end - extent.begin;
  return bytes;
}

}  // namespace sluice
