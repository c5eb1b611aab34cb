// The thin devices of a pool and their mappings, as its trees have them.
//
// For tools: blocks, and reads whole trees.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "persistent/block_reader.hpp"
#include "persistent/superblock.hpp"

namespace sluice::persistent {

struct ThinDevice {
  uint64_t id = 0;
  uint64_t root = 0;  // of its mappings
  DeviceDetails details = {};
};

// In the order of their ids. EILSEQ: damaged, or a device is in one of the two trees only.
Result<std::vector<ThinDevice>> read_devices(BlockReader& reader, const Superblock& superblock);

// Neighbouring blocks of a device that are neighbours on the data device, and as old.
struct MappedRun {
  uint64_t device_block = 0;
  uint64_t data_block = 0;
  uint64_t length = 0;
  uint32_t time = 0;
};

// Calls `take` for each run of the device, in order; runs are as long as they can be.
Result<void> for_each_run(BlockReader& reader, uint64_t root,
                          const std::function<void(const MappedRun&)>& take);

// The superblock of the pool, or the metadata snapshot that it names. Errors as of
// read_superblock(); ENOENT: there is no such snapshot.
Result<Superblock> load_superblock(BlockReader& reader);
Result<Superblock> load_snapshot(BlockReader& reader, const Superblock& superblock);

}  // namespace sluice::persistent
