#include "persistent/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "persistent/check_state.hpp"
#include "persistent/devices.hpp"

namespace sluice::persistent {
namespace {

struct CheckedDevices {
  std::map<uint64_t, uint64_t> mapped;   // by device: the blocks that its tree maps
  std::map<uint64_t, uint64_t> claimed;  // and those that the device tree states
};

void check_mapping(CheckState& state, uint64_t block, Mapping mapping) {
  const uint64_t blocks = state.superblock.data_space_map.blocks;
  if (mapping.data_block >= blocks) {
    return state.corrupt(fmt::format("block {} of a device is at data block {}, and there are {}",
                                     block, mapping.data_block, blocks));
  }
  if (mapping.time > state.superblock.time) {
    state.corrupt(fmt::format("the mapping of block {} of a device has the time {}, and it is {}",
                              block, mapping.time, state.superblock.time));
  }
  state.data.add(mapping.data_block);
}

void check_mappings(CheckState& state, uint64_t device, uint64_t root, CheckedDevices& devices) {
  const auto take = [&](const NodeView& leaf) {
    for (uint32_t i = 0; i < leaf.entries(); ++i) {
      check_mapping(state, leaf.key(i), Mapping::from(leaf.value64(i)));
    }
  };
  devices.mapped[device] = state.walk(root, BlockUse::mappings, Mapping::kBytes, take).entries;
}

void check_details(CheckState& state, const NodeView& leaf, CheckedDevices& devices) {
  for (uint32_t i = 0; i < leaf.entries(); ++i) {
    const uint64_t device = leaf.key(i);
    const DeviceDetails details = load_device_details(leaf.value(i));
    if (device > kDeviceIdMost) state.corrupt(fmt::format("there is a device {}", device));
    const uint32_t latest = std::max(details.creation_time, details.snapshotted_time);
    if (latest > state.superblock.time) {
      state.corrupt(fmt::format("device {} has the time {}, and it is {}", device, latest,
                                state.superblock.time));
    }
    devices.claimed[device] = details.mapped_blocks;
  }
}

void compare_devices(CheckState& state, const CheckedDevices& devices) {
  for (const auto& [device, claimed] : devices.claimed) {
    const auto mapped = devices.mapped.find(device);
    if (mapped == devices.mapped.end()) {
      state.corrupt(fmt::format("device {} has no mapping tree", device));
    } else if (mapped->second != claimed) {
      state.corrupt(fmt::format("device {} maps {} blocks, and its details say {}", device,
                                mapped->second, claimed));
    }
  }
  for (const auto& [device, mapped] : devices.mapped) {
    if (devices.claimed.contains(device)) continue;
    state.corrupt(fmt::format("device {} has mappings and is not in the device tree", device));
  }
}

void check_snapshot(CheckState& state) {
  const uint64_t number = state.superblock.metadata_snapshot;
  if (number == 0 || !state.refer(number, BlockUse::superblock)) return;
  const auto snapshot = load_snapshot(state.reader, state.superblock);
  if (!snapshot) return state.lose(snapshot.error());
  check_devices(state, *snapshot);
}

}  // namespace

Result<CheckResult> check(BlockReader& reader, const CheckProgress& progress) {
  const auto superblock = load_superblock(reader);
  if (!superblock) return std::unexpected(superblock.error());
  CheckState state(reader, *superblock, progress);
  CheckResult& result = state.result;
  result.needs_check = superblock->needs_check();
  result.metadata_blocks = superblock->metadata_space_map.blocks;
  result.data_blocks = superblock->data_space_map.blocks;
  state.refer(kSuperblockNumber, BlockUse::superblock);
  check_devices(state, state.superblock);
  check_snapshot(state);
  check_space_maps(state);
  return std::move(result);
}

void check_devices(CheckState& state, const Superblock& superblock) {
  CheckedDevices devices;
  state.walk(superblock.device_root, BlockUse::devices, DeviceDetails::kBytes,
             [&](const NodeView& leaf) { check_details(state, leaf, devices); });
  const Subtree all = state.walk(superblock.mapping_root, BlockUse::device_roots, kChildBytes,
                                 [&](const NodeView& leaf) {
                                   for (uint32_t i = 0; i < leaf.entries(); ++i) {
                                     check_mappings(state, leaf.key(i), leaf.value64(i), devices);
                                   }
                                 });
  // A metadata snapshot that shares all of its trees has nothing new.
  if (state.complete && devices.mapped.size() == all.entries) compare_devices(state, devices);
  if (&superblock != &state.superblock) return;
  state.result.devices = devices.claimed.size();
  for (const auto& [device, mapped] : devices.mapped) state.result.mapped_blocks += mapped;
}

}  // namespace sluice::persistent
