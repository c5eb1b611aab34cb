// Ending: of a target that waits for somebody outside, such as a server that may not answer.
#pragma once

#include "target/target.hpp"

namespace sluice {

class Ending {
 public:
  // The device ends: what only waits fails soon from now on. Control path, once, while requests are
  // in flight and before stop().
  virtual void note_end() = 0;

 protected:
  ~Ending() = default;
};

// Tells all targets of the tree.
inline void note_end(Target& root) {
  for (const auto& child : root.children()) note_end(*child);
  if (auto* const ending = dynamic_cast<Ending*>(&root); ending != nullptr) ending->note_end();
}

}  // namespace sluice
