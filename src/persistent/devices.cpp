#include "persistent/devices.hpp"

#include <fmt/format.h>

#include <array>

#include "persistent/tree_walk.hpp"

namespace sluice::persistent {
namespace {

struct DeviceRoot {
  uint64_t id;
  uint64_t root;
};

Result<std::vector<DeviceRoot>> read_roots(BlockReader& reader, uint64_t mapping_root) {
  std::vector<DeviceRoot> roots;
  auto walked = for_each_leaf(reader, mapping_root, kChildBytes, [&](const NodeView& leaf) {
    for (uint32_t i = 0; i < leaf.entries(); ++i) roots.push_back({leaf.key(i), leaf.value64(i)});
    return Result<void>();
  });
  if (!walked) return std::unexpected(walked.error());
  return roots;
}

Result<Superblock> load(BlockReader& reader, uint64_t number) {
  alignas(8) std::array<std::byte, kBlockBytes> bytes;
  if (auto read = reader.read(number, bytes); !read) return std::unexpected(read.error());
  return read_superblock(bytes, number);
}

}  // namespace

Result<std::vector<ThinDevice>> read_devices(BlockReader& reader, const Superblock& superblock) {
  const auto roots = read_roots(reader, superblock.mapping_root);
  if (!roots) return std::unexpected(roots.error());
  std::vector<ThinDevice> devices;
  auto root = roots->begin();
  const auto take = [&](const NodeView& leaf) -> Result<void> {
    for (uint32_t i = 0; i < leaf.entries(); ++i) {
      const uint64_t id = leaf.key(i);
      if (root == roots->end() || root->id > id) {
        return fail(EILSEQ, fmt::format("device {} has no mapping tree", id));
      }
      if (root->id < id) break;
      devices.push_back(
          {.id = id, .root = root->root, .details = load_device_details(leaf.value(i))});
      ++root;
    }
    return {};
  };
  auto walked = for_each_leaf(reader, superblock.device_root, DeviceDetails::kBytes, take);
  if (!walked) return std::unexpected(walked.error());
  if (root == roots->end()) return devices;
  return fail(EILSEQ,
              fmt::format("device {} has mappings and is not in the device tree", root->id));
}

Result<void> for_each_run(BlockReader& reader, uint64_t root,
                          const std::function<void(const MappedRun&)>& take) {
  MappedRun run;
  auto walked = for_each_leaf(reader, root, Mapping::kBytes, [&](const NodeView& leaf) {
    for (uint32_t i = 0; i < leaf.entries(); ++i) {
      const Mapping mapping = Mapping::from(leaf.value64(i));
      const uint64_t block = leaf.key(i);
      const bool continues = run.length != 0 && run.device_block + run.length == block &&
                             run.data_block + run.length == mapping.data_block &&
                             run.time == mapping.time;
      if (continues) {
        ++run.length;
        continue;
      }
      if (run.length != 0) take(run);
      run = {.device_block = block,
             .data_block = mapping.data_block,
             .length = 1,
             .time = mapping.time};
    }
    return Result<void>();
  });
  if (walked && run.length != 0) take(run);
  return walked;
}

Result<Superblock> load_superblock(BlockReader& reader) { return load(reader, kSuperblockNumber); }

Result<Superblock> load_snapshot(BlockReader& reader, const Superblock& superblock) {
  if (superblock.metadata_snapshot == 0) return fail(ENOENT, "there is no metadata snapshot");
  return load(reader, superblock.metadata_snapshot);
}

}  // namespace sluice::persistent
