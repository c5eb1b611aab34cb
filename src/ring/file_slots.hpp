// FileSlots: which files a ring has registered, and in which slots. Set when the ring is made.
//
// A target knows the slot that its file has in the rings of its own device. It may be asked to
// serve a request of another one, on that one's ring, where the slot is empty or another file.
#pragma once

#include <cstddef>
#include <vector>

#include "core/file.hpp"

namespace sluice {

class FileSlots {
 public:
  void set(size_t slot, int descriptor) {
    if (slot >= descriptors_.size()) descriptors_.resize(slot + 1, -1);
    descriptors_[slot] = descriptor;
  }
  // The slot, where it is this descriptor; otherwise the descriptor itself.
  File find(File slot, int descriptor) const {
    const auto index = static_cast<size_t>(slot.number);
    const bool is_here = index < descriptors_.size() && descriptors_[index] == descriptor;
    return is_here ? slot : File{.number = descriptor};
  }

 private:
  std::vector<int> descriptors_;
};

}  // namespace sluice
