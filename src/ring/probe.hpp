// Detects features of the running kernel that no interface reports.
#pragma once

namespace sluice {

// True if plain SEND and RECV take registered buffers (Linux 7.2, S129). Tested once per process,
// on a socket pair; a wrong guess would desynchronise a stream (S112).
bool kernel_has_socket_fixed();

// True if block devices take BLOCK_URING_CMD_DISCARD (Linux 6.12). Decided by the kernel version: a
// test would need a block device, and discard data. Callers must handle EOPNOTSUPP.
bool kernel_has_block_discard();

}  // namespace sluice
