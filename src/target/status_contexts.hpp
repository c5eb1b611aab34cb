// StatusContexts: what a target says of its parts beside their extents: contexts of block status,
// each with a name, such as "qemu:dirty-bitmap:b0".
//
// A target that has some is also a StatusContexts (contexts_of()). Layers above it do not pass them
// on.
#pragma once

#include <cerrno>
#include <string>
#include <vector>

#include "target/status_runs.hpp"
#include "target/target.hpp"

namespace sluice {

class StatusContexts {
 public:
  virtual ~StatusContexts() = default;

  // They may change. Any thread, at any time.
  virtual std::vector<std::string> contexts() const = 0;
  // What one of them says of the range of `request`, which lies in the target, and whose operation
  // does not matter. `found` is for this range, and empty; it has at least its beginning
  // afterwards. What it says may be outdated by a write at once. ENOENT: there is none of that
  // name.
  virtual Task context_status(Request& request, const std::string& context, StatusRuns& found) = 0;
};

// Null: it has none.
inline StatusContexts* contexts_of(Target& target) {
  return dynamic_cast<StatusContexts*>(&target);
}

}  // namespace sluice
