// MountState: everything that another process needs to continue serving a mount, and its JSON form
// in a Handover. Control path only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "frontend/fuse/handshake.hpp"
#include "frontend/fuse/one_file.hpp"

namespace sluice::fuse {

struct MountState {
  std::string file_system;  // see name_file_system()
  bool detached = false;    // not in the tree
  std::string at;           // the caller's path
  bool directory = false;   // a directory that contains the file
  bool made = false;        // the file below the mount was created ...
  uint64_t inode = 0;       // ... as this inode
  bool by_helper = false;   // mounted through fusermount3
  Agreement agreement;
  int32_t backing_id = 0;
  uint16_t queues = 1;
  uint16_t depth = 64;
  std::optional<uint32_t> reserve_bytes{};
  std::optional<uint64_t> size_bytes{};  // nullopt: that of the stack
  OneFile::Attributes attributes;
};

std::string to_json(const MountState& state);
// Accepts any text. EINVAL: to_json() of no version up to ours has written it; EOPNOTSUPP: a newer
// version has.
Result<MountState> mount_state_from_json(std::string_view text);

}  // namespace sluice::fuse
