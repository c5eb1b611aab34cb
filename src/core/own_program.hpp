// start_own_program: starts the program of this process once more, for a helper process.
//
// Control path.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/error.hpp"

namespace sluice {

inline constexpr int kHelperSocket = 3;  // the number that its end of a socket has in a helper

// Starts the same program, even if its file has been replaced meanwhile, with `word` as its only
// argument: in a session of its own, without blocked or ignored signals. `socket` is kHelperSocket
// there. Returns its process.
Result<pid_t> start_own_program(const std::string& word, int socket);

}  // namespace sluice
