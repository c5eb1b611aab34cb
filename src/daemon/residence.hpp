// Keeps a server's memory resident, so that memory reclaim never waits for a server that itself
// waits for memory.
#pragma once

#include <string>
#include <vector>

namespace sluice {

// Makes the process an I/O flusher, allocates and locks the memory that it will need, and exempts
// it from the out-of-memory killer, each if permitted. Before the device goes live, and before the
// process has threads.
void protect_process();

// The steps that were not permitted, one sentence each; empty: this process never waits for memory.
const std::vector<std::string>& residence_risks();

}  // namespace sluice
