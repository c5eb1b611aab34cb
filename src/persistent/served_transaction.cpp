#include "persistent/served_transaction.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/little_endian.hpp"
#include "persistent/atomically.hpp"

namespace sluice::persistent {

Result<std::unique_ptr<ServedTransaction>> ServedTransaction::open(BlockReader& reader,
                                                                   Access access) {
  const auto superblock = load_superblock_for(reader, access);
  if (!superblock) return std::unexpected(superblock.error());
  std::unique_ptr<ServedTransaction> opened(new ServedTransaction(reader, *superblock));
  if (auto loaded = opened->load(); !loaded) return std::unexpected(loaded.error());
  return opened;
}

Result<void> ServedTransaction::visit(uint64_t id, uint64_t begin, uint64_t end,
                                      const TakeMapping& take) {
  return reading([&]() -> Result<void> {
    const auto root = root_of(id);
    if (!root) return std::unexpected(root.error());
    const auto visited =
        mappings_.visit(*root, begin, end, [&](uint64_t block, BTree::Value value) {
          return take(block, Mapping::from(load_little_endian<uint64_t>(value, 0)));
        });
    if (!visited) return std::unexpected(visited.error());
    return {};
  });
}

Result<void> ServedTransaction::visit_devices(const TakeDevice& take) {
  return reading([&]() -> Result<void> {
    const auto visited = devices_.visit(
        superblock_.device_root, 0, UINT64_MAX,
        [&](uint64_t id, BTree::Value value) { return take(id, load_device_details(value)); });
    if (!visited) return std::unexpected(visited.error());
    return {};
  });
}

Result<void> ServedTransaction::reserve(std::span<Placing> placings) {
  if (failed_) return fail(EIO, "the last commit has failed: the pool must be opened again");
  for (size_t i = 0; i < placings.size(); ++i) {
    const auto found = atomically([&] { return data_.reserve(); });
    if (!found) {
      give_back(placings.first(i));
      return std::unexpected(found.error());
    }
    placings[i].data_block = *found;
  }
  return {};
}

void ServedTransaction::give_back(std::span<const Placing> placings) {
  for (const Placing& placing : placings) data_.give_back(placing.data_block);
}

Result<void> ServedTransaction::map(uint64_t id, std::span<const Placing> placings) {
  return atomically([&]() -> Result<void> {
    for (const Placing& placing : placings) {
      auto root = own_root(id);
      if (!root) return std::unexpected(root.error());
      if (auto taken = data_.take(placing.data_block); !taken) return taken;
      const Mapping mapping{.data_block = placing.data_block, .time = superblock_.time};
      const auto mapped = put(id, *root, placing.block, mapping);
      if (!mapped) return std::unexpected(mapped.error());
    }
    return {};
  });
}

Result<void> ServedTransaction::unmap(uint64_t id, std::span<const uint64_t> blocks,
                                      std::vector<uint64_t>& freed) {
  std::vector<uint64_t> unused;
  const auto unmap_all = [&]() -> Result<void> {
    for (const uint64_t block : blocks) {
      auto root = own_root(id);
      if (!root) return std::unexpected(root.error());
      const auto value = mappings_.find(*root, block);
      if (!value) return std::unexpected(value.error());
      if (!*value) continue;
      const auto mapping = Mapping::from(load_little_endian<uint64_t>(**value, 0));
      if (auto removed = take_out(id, *root, block); !removed) return removed;
      const auto count = data_.count(mapping.data_block);
      if (!count) return std::unexpected(count.error());
      if (*count == 0) unused.push_back(mapping.data_block);
    }
    return {};
  };
  auto done = atomically(unmap_all, Kind::frees);
  if (!done) return done;
  for (const uint64_t block : unused) data_.hold(block);
  freed.insert(freed.end(), unused.begin(), unused.end());
  return {};
}

Result<void> ServedTransaction::take_metadata_snapshot() {
  return atomically([&]() -> Result<void> {
    if (superblock_.metadata_snapshot != 0) {
      return fail(EEXIST, "there is a metadata snapshot already: release it first");
    }
    const auto place = metadata_.allocate();
    if (!place) return std::unexpected(place.error());
    for (const uint64_t root : {superblock_.mapping_root, superblock_.device_root}) {
      if (auto referred = metadata_.increase(root); !referred) return referred;
    }
    Superblock snapshot = superblock_;
    snapshot.data_space_map = {};  // it goes on without the snapshot
    write_superblock(snapshot, blocks_.make(*place, BlockKind::superblock), *place);
    superblock_.metadata_snapshot = *place;
    return {};
  });
}

Result<void> ServedTransaction::begin_metadata_removal(Removal& removal) {
  const auto begin = [&]() -> Result<Superblock> {
    const uint64_t place = superblock_.metadata_snapshot;
    if (place == 0) return fail(ENOENT, "there is no metadata snapshot");
    const auto block = blocks_.read(place, BlockKind::superblock);
    if (!block) return std::unexpected(block.error());
    auto snapshot = read_superblock(*block, place);
    if (!snapshot) return snapshot;
    if (auto released = metadata_.decrease(place); !released) {
      return std::unexpected(released.error());
    }
    superblock_.metadata_snapshot = 0;
    return snapshot;
  };
  const auto snapshot = atomically(begin, Kind::frees);
  if (!snapshot) return std::unexpected(snapshot.error());
  removal.devices_.push_back(snapshot->device_root);
  removal.roots_.push_back(snapshot->mapping_root);
  return {};
}

Result<void> ServedTransaction::begin_removal(uint64_t id, Removal& removal) {
  const auto root = atomically([&] { return unlist(id); }, Kind::frees);
  if (!root) return std::unexpected(root.error());
  removal.mappings_.push_back(*root);
  return {};
}

Result<void> ServedTransaction::continue_removal(Removal& removal) {
  if (!removal.devices_.empty()) return release_next(devices_, removal.devices_);
  if (!removal.roots_.empty()) return release_next(roots_, removal.roots_, &removal.mappings_);
  return release_next(mappings_, removal.mappings_);
}

// `values` gets those of a leaf that is gone, which are roots with one reference too many.
Result<void> ServedTransaction::release_next(BTree& tree, std::vector<uint64_t>& nodes,
                                             std::vector<uint64_t>* values) {
  std::vector<uint64_t> below;
  std::vector<uint64_t> roots;
  const auto release = [&] {
    return tree.release_node(nodes.back(), below, values == nullptr ? nullptr : &roots);
  };
  if (auto released = atomically(release, Kind::frees); !released) return released;
  nodes.pop_back();
  nodes.insert(nodes.end(), below.begin(), below.end());
  if (values != nullptr) values->insert(values->end(), roots.begin(), roots.end());
  return {};
}

}  // namespace sluice::persistent
