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

Result<void> ServedTransaction::begin_removal(uint64_t id, std::vector<uint64_t>& left) {
  uint64_t root = 0;
  auto begun = atomically(
      [&]() -> Result<void> {
        const auto found = unlist(id);
        if (!found) return std::unexpected(found.error());
        root = *found;
        return {};
      },
      Kind::frees);
  if (begun) left.push_back(root);
  return begun;
}

Result<void> ServedTransaction::continue_removal(std::vector<uint64_t>& left) {
  std::vector<uint64_t> below;
  const uint64_t number = left.back();
  auto done = atomically([&] { return mappings_.release_node(number, below); }, Kind::frees);
  if (!done) return done;
  left.pop_back();
  left.insert(left.end(), below.begin(), below.end());
  return {};
}

}  // namespace sluice::persistent
