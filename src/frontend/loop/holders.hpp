// Who has a device open. Control path only.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace sluice::loop {

struct Holder {
  pid_t pid = 0;
  std::string name;
};

// A process other than this one that has the block device open; of those that this process may look
// at.
std::optional<Holder> holder_of(dev_t device);

}  // namespace sluice::loop
