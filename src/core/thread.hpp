// start_thread: starts a thread, or returns an Error.
//
// The thread has a name of up to 15 characters, and all signals are blocked in it: another thread
// of the program handles them. This includes SIGXFSZ, so that a write beyond `ulimit -f` only fails
// with EFBIG.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "core/error.hpp"

namespace sluice {

// EAGAIN: a limit on processes or threads is reached; ENOMEM.
Result<std::thread> start_thread(const std::string& name, std::move_only_function<void()> run);

}  // namespace sluice
