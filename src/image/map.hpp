// The map of a disk: what is data, hole or zero, and where it is.
//
// Control path; blocks.
#pragma once

#include <cstdint>
#include <functional>

#include "core/error.hpp"
#include "core/extents.hpp"
#include "image/open_disk.hpp"

namespace sluice::image {

// Calls `take` with the offset of each extent from `begin` to `end`, which is at most the size of
// the disk, in order. Neighbours that continue each other are one. Extents::file is valid during
// the call.
Result<void> map_disk(OpenDisk& disk, uint64_t begin, uint64_t end, Detail detail,
                      const std::function<void(uint64_t, const Extent&)>& take);

// The extents of a disk, one after the other, for a reader that goes through it from the beginning.
class ExtentCursor {
 public:
  ExtentCursor(OpenDisk& disk, Detail detail) : disk_(disk), detail_(detail) {}

  // What is at `offset`, and goes on for its length; `offset` lies in the disk, and never before
  // that of an earlier call.
  Result<Extent> at(uint64_t offset);

 private:
  OpenDisk& disk_;
  const Detail detail_;
  std::vector<Extent> list_;
  size_t next_ = 0;     // of list_
  uint64_t begin_ = 0;  // of that extent
};

}  // namespace sluice::image
