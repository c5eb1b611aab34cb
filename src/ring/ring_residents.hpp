// RingResidents: the objects of all RingLocals on one ring (ring/ring_local.hpp), by number.
//
// Part of a Ring, used by its thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace sluice {

class RingResident {
 public:
  RingResident() = default;
  RingResident(const RingResident&) = delete;
  RingResident& operator=(const RingResident&) = delete;
  virtual ~RingResident() = default;
};

class RingResidents {
 public:
  // Null: none.
  RingResident* find(uint32_t number) const {
    return number < residents_.size() ? residents_[number].get() : nullptr;
  }
  void put(uint32_t number, std::unique_ptr<RingResident> resident) {
    if (number >= residents_.size()) residents_.resize(number + 1);
    residents_[number] = std::move(resident);
  }
  std::unique_ptr<RingResident> take(uint32_t number) {
    return number < residents_.size() ? std::move(residents_[number]) : nullptr;
  }

 private:
  std::vector<std::unique_ptr<RingResident>> residents_;
};

}  // namespace sluice
