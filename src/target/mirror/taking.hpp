// What a mirror finds out of its legs before it takes them.
#pragma once

#include <cstddef>
#include <vector>

#include "target/mirror/assembly.hpp"

namespace sluice::mirror {

// The legs that are there at the start.
struct Assembled {
  Decision decision;
  std::vector<PresentLeg> present;
  std::vector<size_t> index_of;  // of these legs in the mirror
};

// A leg that joins later.
struct Joining {
  size_t index = 0;  // in the mirror
  PresentLeg found;
  LegPlaces places = {};
  Uuid id = {};
  bool is_new = false;
  bool lacks_all = false;
};

}  // namespace sluice::mirror
