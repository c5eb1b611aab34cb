// What a mirror finds out of its legs before it takes them, and what is there without one.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "target/mirror/assembly.hpp"
#include "target/mirror/members.hpp"

namespace sluice::mirror {

// In the place of a leg that may come.
std::unique_ptr<Target> empty_place();

// The legs that are there at the start.
struct Assembled {
  Decision decision;
  std::vector<PresentLeg> present;
  std::vector<size_t> index_of;  // of these legs in the mirror
};

// A place of a leg about which a verb, or the sweep, makes up its mind: no other may. On the
// control reactor.
class Taking {
 public:
  Taking(LegSet& taking, size_t index) : taking_(taking), leg_(leg_bit(index)) { taking_ |= leg_; }
  Taking(const Taking&) = delete;
  Taking& operator=(const Taking&) = delete;
  ~Taking() { taking_ &= ~leg_; }

 private:
  LegSet& taking_;
  const LegSet leg_;
};

// A leg that joins later.
struct Joining {
  size_t index = 0;  // in the mirror
  PresentLeg found = {};
  LegPlaces places = {};
  Uuid id = {};
  bool may_be_new = false;   // a disk that is no leg is made one; what it holds is overwritten
  bool as_spare = false;     // it holds no data for now
  bool is_one_more = false;  // than were wanted before
  LegRecord array = {};      // what the others say
  bool is_new = false;
  bool lacks_all = false;
};

}  // namespace sluice::mirror
