#include "image/map.hpp"

#include <algorithm>
#include <utility>

namespace sluice::image {

Result<void> map_disk(OpenDisk& disk, uint64_t begin, uint64_t end, Detail detail,
                      const std::function<void(uint64_t, const Extent&)>& take) {
  ExtentCursor cursor(disk, detail);
  Extent joined;
  for (uint64_t offset = begin; offset < end;) {
    auto found = cursor.at(offset);
    if (!found) return std::unexpected(found.error());
    const Extent next = found->part(0, std::min(found->length, end - offset));
    if (joined.length != 0 && joined.is_continued_by(next)) {
      joined.length += next.length;
    } else {
      if (joined.length != 0) take(offset - joined.length, joined);
      joined = next;
    }
    offset += next.length;
  }
  if (joined.length != 0) take(end - joined.length, joined);
  return {};
}

Result<Extent> ExtentCursor::at(uint64_t offset) {
  while (next_ != list_.size() && offset - begin_ >= list_[next_].length) {
    begin_ += list_[next_++].length;
  }
  if (next_ == list_.size()) {
    const uint64_t first = offset / disk_.block_bytes() * disk_.block_bytes();
    auto found = disk_.extents(first, disk_.size_bytes() - first, detail_);
    if (!found) return std::unexpected(found.error());
    list_ = std::move(*found);
    next_ = 0;
    begin_ = first;
    return at(offset);
  }
  const Extent& here = list_[next_];
  return here.part(offset - begin_, here.length - (offset - begin_));
}

}  // namespace sluice::image
