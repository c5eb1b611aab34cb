// Messages with descriptors over a Unix socket (SCM_RIGHTS).
//
// Control path only; any thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "core/descriptor.hpp"

namespace sluice {

// The kernel's limit for one message (SCM_MAX_FD).
inline constexpr size_t kPassedAtOnce = 253;

// Sends bytes, and the descriptors, at most kPassedAtOnce, with the first of them. Results are
// those of sendmsg(2); never raises SIGPIPE.
ssize_t send_passing(int socket, std::string_view bytes, std::span<const int> descriptors,
                     int flags = 0);
// Appends received descriptors to `descriptors`, close-on-exec. Results are those of recvmsg(2).
ssize_t receive_passed(int socket, std::span<char> place, std::vector<Descriptor>& descriptors,
                       int flags = 0);

// The descriptor numbers, for send_passing().
std::vector<int> numbers_of(std::span<const Descriptor> descriptors);

}  // namespace sluice
