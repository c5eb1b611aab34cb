// LowestFree: hands out numbers that are unique among those taken, the lowest free one first, so
// that tables indexed by them stay short. Any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <vector>

namespace sluice {

class LowestFree {
 public:
  uint32_t take() {
    const std::scoped_lock guard(mutex_);
    const auto free = std::ranges::find(taken_, false);
    const auto number = static_cast<uint32_t>(free - taken_.begin());
    if (free == taken_.end()) {
      taken_.push_back(true);
    } else {
      *free = true;
    }
    return number;
  }
  void give_back(uint32_t number) {
    const std::scoped_lock guard(mutex_);
    taken_[number] = false;
  }

 private:
  std::mutex mutex_;
  std::vector<bool> taken_;
};

// The numbers of one kind in the process, for objects that each have one. Never destroyed: an
// object with static storage duration may have a number.
template <typename Kind>
LowestFree& numbers_of_all() {
  static auto* const all = new LowestFree;
  return *all;
}

}  // namespace sluice
