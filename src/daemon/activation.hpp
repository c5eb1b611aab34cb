// The descriptors that a service manager, or a client, has passed to this process by the protocol
// of sd_listen_fds(3): LISTEN_FDS of them, from number 3 on, for the process LISTEN_PID.
//
// Control path, before the process has threads or children.
#pragma once

#include <vector>

#include "core/error.hpp"

namespace sluice {

inline constexpr int kFirstActivated = 3;
inline constexpr int kActivatedMax = 256;

// None, if they are for another process. Children inherit neither them nor the variables. EINVAL:
// what the variables say cannot be; EBADF: there is no such descriptor.
Result<std::vector<int>> take_activated_descriptors();

}  // namespace sluice
