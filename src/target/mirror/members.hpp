// Members: what each leg of a mirror is, in one word, so that a request sees one moment.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::mirror {

inline constexpr size_t kMostLegs = 16;

// One bit for each leg.
using LegSet = uint32_t;
constexpr LegSet leg_bit(size_t leg) { return LegSet{1} << leg; }
// kMostLegs: it is empty.
constexpr size_t first_of(LegSet legs) {
  return legs == 0 ? kMostLegs : static_cast<size_t>(std::countr_zero(legs));
}

class Members {
 public:
  constexpr Members() = default;
  constexpr explicit Members(uint64_t word) : word_(word) {}
  constexpr uint64_t word() const { return word_; }

  // Hold all that was acknowledged; but see Leg::stale.
  constexpr LegSet in_sync() const { return static_cast<LegSet>(word_ & kMask); }
  // Are written to.
  constexpr LegSet written() const { return in_sync() | behind(); }
  // Are written to, and get the rest from the others.
  constexpr LegSet behind() const { return static_cast<LegSet>(word_ >> kMostLegs & kMask); }
  // Another owner has taken the array: they are read, and not written any more.
  constexpr LegSet fenced() const { return static_cast<LegSet>(word_ >> 2 * kMostLegs & kMask); }
  constexpr LegSet readable() const { return written() | fenced(); }
  // A leg has left, and the others do not say so durably yet: nothing is acknowledged until then.
  constexpr bool unsettled() const { return (word_ & kUnsettled) != 0; }

  constexpr Members with_in_sync(size_t leg) const {
    return Members(without(leg_bit(leg)).word_ | leg_bit(leg));
  }
  constexpr Members with_behind(size_t leg) const {
    return Members(without(leg_bit(leg)).word_ | uint64_t{leg_bit(leg)} << kMostLegs);
  }
  constexpr Members without(LegSet legs) const {
    return Members(word_ & ~(uint64_t{legs} | uint64_t{legs} << kMostLegs));
  }
  constexpr Members with_fence() const { return Members(uint64_t{in_sync()} << 2 * kMostLegs); }
  constexpr Members settled(bool yes) const {
    return Members(yes ? word_ & ~kUnsettled : word_ | kUnsettled);
  }

 private:
  static constexpr uint64_t kMask = (uint64_t{1} << kMostLegs) - 1;
  static constexpr uint64_t kUnsettled = uint64_t{1} << 63;

  uint64_t word_ = 0;
};

// for (size_t leg : LegsOf(set))
class LegsOf {
 public:
  explicit constexpr LegsOf(LegSet set) : set_(set) {}
  struct Iterator {
    LegSet rest;
    constexpr size_t operator*() const { return static_cast<size_t>(std::countr_zero(rest)); }
    constexpr Iterator& operator++() {
      rest &= rest - 1;
      return *this;
    }
    constexpr bool operator!=(const Iterator& other) const { return rest != other.rest; }
  };
  constexpr Iterator begin() const { return {set_}; }
  constexpr Iterator end() const { return {0}; }

 private:
  LegSet set_;
};

}  // namespace sluice::mirror
