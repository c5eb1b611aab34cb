// The system calls of a server that speaks NBD: all others fail, for good.
//
// A list of what is allowed (seccomp), and no library for it: a program of the kernel's filter
// machine is a comparison for each call. Operations of a ring are not system calls and pass no
// filter. None of them runs a program, traces a process, mounts, or changes rights or namespaces;
// to files and sockets they have the access of the process.
#pragma once

#include "core/error.hpp"

namespace sluice {

// For all threads of this process and those that they start. EOPNOTSUPP: the kernel has no filters.
Result<void> filter_system_calls();

}  // namespace sluice
