// StatusContexts: what a target says of its parts beside their extents: contexts of block status,
// each with a name, such as "qemu:dirty-bitmap:b0" (Target::status_contexts()).
#pragma once

#include <cerrno>
#include <string>
#include <vector>

#include "core/task.hpp"
#include "target/status_runs.hpp"

namespace sluice {

struct Request;

class StatusContexts {
 public:
  // They may change. Any thread, at any time.
  virtual std::vector<std::string> contexts() const = 0;
  // What one of them says of the range of `request`, which lies in the target, and whose operation
  // does not matter. `found` is for this range, and empty; it has at least its beginning
  // afterwards. What it says may be outdated by a write at once. ENOENT: there is none of that
  // name.
  virtual Task context_status(Request& request, const std::string& context, StatusRuns& found) = 0;

 protected:
  ~StatusContexts() = default;
};

}  // namespace sluice
