// The programs that have a block device open, through any node: as a descriptor, in a mapping, or
// registered with an io_uring. A descriptor in flight in a socket is not found.
//
// Control path only. Never blocks on a process that hangs.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace sluice {

struct Openers {
  std::vector<std::string> found;   // "process 312 (dd)"
  std::vector<std::string> unseen;  // could not be inspected in time
};

// Only programs that this process may inspect, except itself and `ours`. Error: no helper process
// could be started.
Result<Openers> find_openers(std::span<const dev_t> devices, std::span<const pid_t> ours);

}  // namespace sluice
