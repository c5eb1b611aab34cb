// FileSlots: the registered files of a ring, by slot.
//
// The slot of a file is the same in every ring, and no other file of the process has it (FileSlot).
// A target may have to serve a request of a ring that has not registered its file.
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
  // The slot if it holds this descriptor, otherwise the descriptor itself.
  File find(File slot, int descriptor) const {
    const auto index = static_cast<size_t>(slot.number);
    const bool is_here = index < descriptors_.size() && descriptors_[index] == descriptor;
    return is_here ? slot : File{.number = descriptor};
  }

 private:
  std::vector<int> descriptors_;
};

}  // namespace sluice
