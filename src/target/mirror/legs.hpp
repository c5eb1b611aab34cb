// Legs: the legs of a mirror, and places for more; and what each of them is at this moment.
//
// Any thread, but for what a leg itself says.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "target/mirror/leg.hpp"
#include "target/mirror/members.hpp"

namespace sluice::mirror {

class Legs {
 public:
  // The first `named` children of the mirror are legs, the others free places.
  Legs(Target& mirror, size_t named);

  Leg& operator[](size_t index) const { return *legs_[index]; }
  static constexpr size_t size() { return kMostLegs; }  // with the places
  auto begin() const { return legs_.begin(); }
  auto end() const { return legs_.end(); }

  Members members() const { return Members(members_.load()); }
  void set_members(Members members) { members_.store(members.word()); }

  // Those of the spec, in this order.
  LegSet named() const { return named_; }
  void set_named(LegSet named) { named_ = named; }
  size_t number_of(size_t index) const {  // in the spec, from 1
    return static_cast<size_t>(std::popcount(named_ & (leg_bit(index) - 1))) + 1;
  }

  // Those that others call in sync, but that get writes later: among those that are behind.
  LegSet following() const { return following_; }
  void set_following(LegSet following) { following_ = following; }

  // Those of which a flush has failed.
  LegSet lost() const;
  // Those of `in_sync` that can be relied on: all, if a flush has failed on all of them.
  LegSet sound_of(LegSet in_sync) const;

  // No leg is written any more. `why`, for users: who has taken the array.
  void fence(const std::string& why);
  std::string why_fenced() const;

  // Tells the user of each: a warning, and an event.
  void report(LegSet legs, std::string_view what) const;

 private:
  const Target& mirror_;
  std::vector<std::unique_ptr<Leg>> legs_;
  std::atomic<LegSet> named_ = 0;
  std::atomic<uint64_t> members_ = 0;
  std::atomic<LegSet> following_ = 0;
  mutable std::mutex fencing_;
  std::string why_fenced_;  // under this mutex
};

}  // namespace sluice::mirror
