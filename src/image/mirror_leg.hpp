// What a leg of a mirror has on its disk, read and written by a command while no server uses it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "image/open_disk.hpp"
#include "target/mirror/leg_record.hpp"

namespace sluice::image {

struct MirrorLeg {
  mirror::LegRecord record;
  uint64_t leg_bytes = 0;
  uint64_t writes = 0;          // of its superblock: the generation of the container
  std::string remark = {};      // one copy of the superblock is damaged; empty: both are valid
  uint64_t dirty_regions = 0;   // with those of damaged blocks
  uint64_t damaged_blocks = 0;  // of the bitmap: damaged, or not readable

  uint64_t regions() const;
};

// The size of the disk as a leg: whole blocks.
uint64_t leg_bytes(const OpenDisk& disk);

// nullopt: no superblock is there, at the start or at the end. An Error names the disk: a
// superblock is damaged, of a version that this program does not read, or cannot be read.
Result<std::optional<MirrorLeg>> read_mirror_leg(OpenDisk& disk);

// Writes the whole bitmap with all bits set or clear, makes it durable, and then writes both copies
// of the superblock. What another array had at the other place is erased before.
Result<void> write_mirror_leg(OpenDisk& disk, const mirror::LegRecord& record, bool dirty);
// Sets all bits of the bitmap, durably, and nothing else.
Result<void> mark_mirror_leg(OpenDisk& disk, const mirror::LegRecord& record);
// The superblock alone: both copies, the older one first, so that a torn write leaves the newer.
Result<void> write_mirror_superblock(OpenDisk& disk, const mirror::LegRecord& record);

// Overwrites all copies of superblocks, valid or damaged, with zeroes. False: there was none.
Result<bool> erase_mirror_leg(OpenDisk& disk);

}  // namespace sluice::image
