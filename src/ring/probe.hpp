// Questions about the running kernel that no interface answers.
#pragma once

namespace sluice {

// Whether plain SEND and RECV take registered buffers (Linux 7.2, S129). Tried once per process, on
// a socket pair; a wrong guess would desynchronise a stream (S112).
bool kernel_has_socket_fixed();

// Whether block devices take BLOCK_URING_CMD_DISCARD (Linux 6.12). By the version: trying it takes
// a block device, and discards. Whoever uses it copes with EOPNOTSUPP.
bool kernel_has_block_discard();

}  // namespace sluice
