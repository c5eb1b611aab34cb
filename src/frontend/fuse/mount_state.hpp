// MountState: all that another process needs to serve a mount from here on, and how it is written
// into a Handover. Control path only.
#pragma once

#include <cstdint>

#include "core/error.hpp"
#include "frontend/fuse/handshake.hpp"
#include "frontend/fuse/mount_point.hpp"
#include "frontend/fuse/one_file.hpp"
#include "frontend/handover.hpp"

namespace sluice::fuse {

struct MountState {
  MountPoint::Record mount;
  Agreement agreement;
  int32_t backing_id = 0;
  uint16_t queues = 1;
  uint16_t depth = 64;
  OneFile::Attributes attributes;
};

std::string to_json(const MountState& state);
// Any text. EINVAL: not what to_json() writes.
Result<MountState> mount_state_from_json(std::string_view text);

}  // namespace sluice::fuse
