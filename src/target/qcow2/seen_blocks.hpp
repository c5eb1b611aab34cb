// SeenBlocks: numbers of blocks that have been examined. May forget some of them, so that they are
// examined again; never claims one that was not added.
//
// Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice::qcow2 {

class SeenBlocks {
 public:
  static constexpr size_t kSlots = 4096;

  SeenBlocks() : slots_(kSlots) {}

  bool contains(uint64_t number) const {
    return slots_[number % kSlots].load(std::memory_order_acquire) == number + 1;
  }
  void add(uint64_t number) {
    slots_[number % kSlots].store(number + 1, std::memory_order_release);
  }
  void forget(uint64_t number) {
    uint64_t present = number + 1;
    slots_[number % kSlots].compare_exchange_strong(present, 0);
  }

 private:
  std::vector<std::atomic<uint64_t>> slots_;  // number + 1; 0: none
};

}  // namespace sluice::qcow2
