// Removes remains of killed servers from the state directory: incomplete files, logs and sockets of
// devices that no longer exist. Records of devices that can be recovered or deleted stay.
#pragma once

#include "daemon/state_directory.hpp"

namespace sluice {

// The caller holds the StateLock, so that no record is written meanwhile.
void clear_leftovers(const StateDirectory& directory);

}  // namespace sluice
