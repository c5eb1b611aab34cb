#include "persistent/transaction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "persistent/atomically.hpp"
#include "persistent/devices.hpp"

namespace sluice::persistent {
namespace {

std::array<std::byte, kChildBytes> number_value(uint64_t number) {
  std::array<std::byte, kChildBytes> value;
  store_little_endian(value, 0, number);
  return value;
}

// The metadata blocks that are copied when a large device is removed: the bitmaps of the data, and
// the nodes that lead to them and to the device.
uint64_t deletion_needs(const SpaceMapRoot& data) {
  constexpr uint64_t kPaths = 16;
  return data.bitmaps() + data.bitmaps() / 50 + kPaths;
}

std::unexpected<Error> no_device(uint64_t id) {
  return fail(ENODEV, fmt::format("there is no thin device {}", id));
}

}  // namespace

Transaction::Transaction(BlockReader& reader, const Superblock& superblock)
    : blocks_(reader),
      metadata_(blocks_),
      data_(blocks_, metadata_, superblock.data_space_map),
      root_references_(metadata_),
      roots_(blocks_, metadata_, kChildBytes, &root_references_),
      mappings_(blocks_, metadata_, Mapping::kBytes, &data_),
      devices_(blocks_, metadata_, DeviceDetails::kBytes),
      superblock_(superblock) {}

Result<std::unique_ptr<Transaction>> Transaction::open(BlockReader& reader, Access access) {
  const auto superblock = load_superblock_for(reader, access);
  if (!superblock) return std::unexpected(superblock.error());
  std::unique_ptr<Transaction> opened(new Transaction(reader, *superblock));
  if (auto loaded = opened->load(); !loaded) return std::unexpected(loaded.error());
  return opened;
}

Result<Superblock> Transaction::load_superblock_for(BlockReader& reader, Access access) {
  auto superblock = load_superblock(reader);
  if (!superblock || access == Access::read_only) return superblock;
  if (superblock->read_only_compatible != 0) {
    return fail(EROFS, fmt::format("it has features without which it must not be written: {:#x}",
                                   superblock->read_only_compatible));
  }
  if (superblock->needs_check()) {
    return fail(EUCLEAN, "the metadata is marked as one that needs a check");
  }
  return superblock;
}

Result<void> Transaction::load() {
  auto loaded = metadata_.load(superblock_.metadata_space_map);
  metadata_.keep_reserve(deletion_needs(superblock_.data_space_map));
  return loaded;
}

Result<std::unique_ptr<Transaction>> Transaction::create(BlockReader& reader, const NewPool& pool) {
  const uint32_t sectors = pool.data_block_sectors;
  if (sectors == 0 || sectors > kDataBlockSectorsMost || sectors % kDataBlockSectorsUnit != 0) {
    return fail(EINVAL, fmt::format("a block of {} sectors is no multiple of {} up to {}", sectors,
                                    kDataBlockSectorsUnit, kDataBlockSectorsMost));
  }
  if (pool.data_blocks > kDataBlocksMost) {
    return fail(EINVAL,
                fmt::format("{} data blocks are more than {}", pool.data_blocks, kDataBlocksMost));
  }
  const uint64_t blocks = std::min(pool.metadata_blocks, kMetadataBlocksMost);
  std::unique_ptr<Transaction> made(
      new Transaction(reader, {.data_block_sectors = sectors, .metadata_blocks = blocks}));
  Transaction& transaction = *made;
  const auto fill = [&]() -> Result<void> {
    if (auto created = transaction.data_.create(pool.data_blocks); !created) return created;
    const auto mapping_root = transaction.roots_.create();
    if (!mapping_root) return std::unexpected(mapping_root.error());
    const auto device_root = transaction.devices_.create();
    if (!device_root) return std::unexpected(device_root.error());
    transaction.superblock_.mapping_root = *mapping_root;
    transaction.superblock_.device_root = *device_root;
    return {};
  };
  if (auto created = transaction.metadata_.create(blocks); !created) {
    return std::unexpected(created.error());
  }
  transaction.metadata_.keep_reserve(deletion_needs({.blocks = pool.data_blocks}));
  if (auto filled = transaction.atomically(fill); !filled) return std::unexpected(filled.error());
  return made;
}

// The root of its mappings, whose reference is the caller's now.
Result<uint64_t> Transaction::unlist(uint64_t id) {
  const auto removed = devices_.remove(superblock_.device_root, id);
  if (!removed) return std::unexpected(removed.error());
  if (!*removed) return no_device(id);
  const auto root = root_of(id);
  if (!root) return root;
  if (auto referred = metadata_.increase(*root); !referred) {
    return std::unexpected(referred.error());
  }
  const auto unlisted = roots_.remove(superblock_.mapping_root, id);
  if (!unlisted) return std::unexpected(unlisted.error());
  return root;
}

Result<DeviceDetails> Transaction::details(uint64_t id) {
  return reading([&] { return find_details(id); });
}

Result<std::optional<Mapping>> Transaction::find(uint64_t id, uint64_t block) {
  return reading([&]() -> Result<std::optional<Mapping>> {
    const auto root = root_of(id);
    if (!root) return std::unexpected(root.error());
    const auto value = mappings_.find(*root, block);
    if (!value) return std::unexpected(value.error());
    if (!*value) return std::nullopt;
    return Mapping::from(load_little_endian<uint64_t>(**value, 0));
  });
}

Result<bool> Transaction::is_shared(uint64_t id, const Mapping& mapping) {
  const auto found = details(id);
  if (!found) return std::unexpected(found.error());
  return mapping.time < found->snapshotted_time;
}

Result<uint64_t> Transaction::provision(uint64_t id, uint64_t block) {
  return atomically([&]() -> Result<uint64_t> {
    auto root = own_root(id);
    if (!root) return std::unexpected(root.error());
    const auto data_block = data_.allocate();
    if (!data_block) return std::unexpected(data_block.error());
    const Mapping mapping{.data_block = *data_block, .time = superblock_.time};
    const auto mapped = put(id, *root, block, mapping);
    if (!mapped) return std::unexpected(mapped.error());
    return *data_block;
  });
}

// The reference to the data block is the caller's. False: it replaces another one.
Result<bool> Transaction::put(uint64_t id, uint64_t root, uint64_t block, Mapping mapping) {
  const auto is_new = mappings_.insert(root, block, number_value(mapping.value()));
  if (!is_new) return is_new;
  if (auto set = set_root(id, root); !set) return std::unexpected(set.error());
  if (!*is_new) return false;
  auto details = find_details(id);
  if (!details) return std::unexpected(details.error());
  ++details->mapped_blocks;
  if (auto set = set_details(id, *details); !set) return std::unexpected(set.error());
  return true;
}

Result<void> Transaction::restore_device(uint64_t id, const DeviceDetails& details) {
  return atomically([&]() -> Result<void> {
    if (auto checked = check_new(id); !checked) return checked;
    const auto root = mappings_.create();
    if (!root) return std::unexpected(root.error());
    if (auto added = add_device(id, *root, {}); !added) return added;
    DeviceDetails own = details;
    own.mapped_blocks = 0;
    return set_details(id, own);
  });
}

Result<void> Transaction::restore_mapping(uint64_t id, uint64_t block, Mapping mapping) {
  return atomically([&]() -> Result<void> {
    if (mapping.data_block >= data_.root().blocks) {
      return fail(EINVAL, fmt::format("there is no data block {}: the pool has {}",
                                      mapping.data_block, data_.root().blocks));
    }
    const auto root = own_root(id);
    if (!root) return std::unexpected(root.error());
    if (auto referred = data_.increase(number_value(mapping.value())); !referred) return referred;
    const auto is_new = put(id, *root, block, mapping);
    if (!is_new) return std::unexpected(is_new.error());
    if (*is_new) return {};
    return fail(EEXIST, fmt::format("block {} of device {} is mapped already", block, id));
  });
}

void Transaction::restore_state(uint32_t time, uint64_t transaction_id, uint32_t flags) {
  superblock_.time = time;
  superblock_.transaction_id = transaction_id;
  superblock_.flags = flags;
}

Result<void> Transaction::adopt(uint64_t id, uint64_t block, Mapping mapping) {
  return atomically([&]() -> Result<void> {
    const auto root = own_root(id);
    if (!root) return std::unexpected(root.error());
    if (auto referred = data_.increase(number_value(mapping.value())); !referred) return referred;
    const auto put_there = put(id, *root, block, mapping);
    if (!put_there) return std::unexpected(put_there.error());
    return {};
  });
}

Result<void> Transaction::grow_data(uint64_t blocks) {
  return atomically([&]() -> Result<void> {
    if (blocks < data_.root().blocks || blocks > kDataBlocksMost) {
      return fail(EINVAL,
                  fmt::format("the pool has {} data blocks, and can have {} at most, not {}",
                              data_.root().blocks, kDataBlocksMost, blocks));
    }
    const uint64_t before = data_.root().blocks;
    metadata_.keep_reserve(deletion_needs({.blocks = blocks}));
    auto grown = data_.grow(blocks);
    if (!grown) metadata_.keep_reserve(deletion_needs({.blocks = before}));
    return grown;
  });
}

// Where the metadata is full there is room for the rest of the transaction at once.
Result<void> Transaction::grow_metadata(uint64_t blocks) {
  return atomically([&]() -> Result<void> {
    const uint64_t most = std::min(blocks_.device_blocks(), kMetadataBlocksMost);
    const uint64_t before = metadata_.blocks();
    if (blocks < before || blocks > most) {
      return fail(EINVAL, fmt::format("the metadata has {} blocks of {} bytes, and can have {} at "
                                      "most on this device, not {}",
                                      before, kBlockBytes, std::max(before, most), blocks));
    }
    metadata_.grow(blocks);
    superblock_.metadata_blocks = blocks;
    return {};
  });
}

Result<bool> Transaction::unmap(uint64_t id, uint64_t block) {
  return atomically(
      [&]() -> Result<bool> {
        auto root = own_root(id);
        if (!root) return std::unexpected(root.error());
        const auto value = mappings_.find(*root, block);
        if (!value) return std::unexpected(value.error());
        if (!*value) return false;
        if (auto removed = take_out(id, *root, block); !removed) {
          return std::unexpected(removed.error());
        }
        return true;
      },
      Kind::uses);
}

// A block that is mapped.
Result<void> Transaction::take_out(uint64_t id, uint64_t root, uint64_t block) {
  const auto removed = mappings_.remove(root, block);
  if (!removed) return std::unexpected(removed.error());
  if (auto set = set_root(id, root); !set) return set;
  auto details = find_details(id);
  if (!details) return std::unexpected(details.error());
  --details->mapped_blocks;
  return set_details(id, *details);
}

Result<void> Transaction::commit(BlockWriter& writer) {
  Sealed sealed;
  if (auto done = seal(sealed); !done) return done;
  if (auto flushed = writer.flush_data(); !flushed) return flushed;
  for (const Sealed::NewBlock& block : sealed.blocks) {
    if (auto written = writer.write(block.number, block.bytes); !written) return written;
  }
  if (auto flushed = writer.flush(); !flushed) return flushed;
  if (auto written = writer.write_superblock(sealed.superblock); !written) return written;
  settle();
  return {};
}

Result<void> Transaction::seal(Sealed& sealed) {
  if (failed_) return fail(EIO, "an earlier commit has failed");
  const auto root = atomically([&] { return metadata_.commit(); });
  if (!root) return std::unexpected(root.error());
  failed_ = true;
  superblock_.metadata_space_map = *root;
  superblock_.data_space_map = data_.root();
  sealed.blocks.clear();
  // A block that was made and is free again has no place in the tree, and is not written.
  const auto note = [&](uint64_t number, ConstBlock bytes) -> Result<void> {
    const auto count = metadata_.count(number);
    if (!count) return std::unexpected(count.error());
    if (*count != 0) sealed.blocks.push_back({number, bytes});
    return {};
  };
  if (auto noted = blocks_.for_each_new(note); !noted) return noted;
  write_superblock(superblock_, sealed.superblock);
  return {};
}

void Transaction::settle() {
  blocks_.begin_transaction();
  metadata_.begin_transaction(superblock_.metadata_space_map);
  data_.begin_transaction();
  failed_ = false;
}

Result<uint64_t> Transaction::root_of(uint64_t id) {
  const auto value = roots_.find(superblock_.mapping_root, id);
  if (!value) return std::unexpected(value.error());
  if (!*value) return no_device(id);
  return load_little_endian<uint64_t>(**value, 0);
}

// The same, to be changed: the nodes that lead to it are copied first. If others share them, the
// root has one more reference from then on, and is copied as well.
Result<uint64_t> Transaction::own_root(uint64_t id) {
  const auto root = root_of(id);
  if (!root) return root;
  // What insert() releases, because it replaces it, is the same.
  if (auto referred = metadata_.increase(*root); !referred) {
    return std::unexpected(referred.error());
  }
  const auto inserted = roots_.insert(superblock_.mapping_root, id, number_value(*root));
  if (!inserted) return std::unexpected(inserted.error());
  return root;
}

Result<DeviceDetails> Transaction::find_details(uint64_t id) {
  const auto value = devices_.find(superblock_.device_root, id);
  if (!value) return std::unexpected(value.error());
  if (!*value) return no_device(id);
  return load_device_details(**value);
}

// The root is the new place of the one that is there: no reference is given up.
Result<void> Transaction::set_root(uint64_t id, uint64_t root) {
  const auto old = root_of(id);
  if (!old) return std::unexpected(old.error());
  if (*old == root) return {};
  // insert() releases the value that it replaces, which shadowing has released already.
  if (auto referred = metadata_.increase(*old); !referred) return referred;
  const auto inserted = roots_.insert(superblock_.mapping_root, id, number_value(root));
  if (!inserted) return std::unexpected(inserted.error());
  return {};
}

Result<void> Transaction::set_details(uint64_t id, const DeviceDetails& details) {
  std::array<std::byte, DeviceDetails::kBytes> value;
  store(details, value);
  const auto inserted = devices_.insert(superblock_.device_root, id, value);
  if (!inserted) return std::unexpected(inserted.error());
  return {};
}

Result<void> Transaction::check_new(uint64_t id) {
  if (id > kDeviceIdMost) {
    return fail(EINVAL, fmt::format("the id {} is above {}", id, kDeviceIdMost));
  }
  const auto taken = devices_.find(superblock_.device_root, id);
  if (!taken) return std::unexpected(taken.error());
  if (*taken) return fail(EEXIST, fmt::format("there is a thin device {} already", id));
  return {};
}

Result<void> Transaction::add_device(uint64_t id, uint64_t root, const DeviceDetails& details) {
  DeviceDetails own = details;
  own.transaction_id = superblock_.transaction_id;
  own.creation_time = superblock_.time;
  own.snapshotted_time = superblock_.time;
  if (auto set = set_details(id, own); !set) return set;
  const auto inserted = roots_.insert(superblock_.mapping_root, id, number_value(root));
  if (!inserted) return std::unexpected(inserted.error());
  return {};
}

Result<void> Transaction::Roots::increase(std::span<const std::byte> value) {
  return space.increase(load_little_endian<uint64_t>(value, 0));
}

Result<void> Transaction::Roots::decrease(std::span<const std::byte> value) {
  return space.decrease(load_little_endian<uint64_t>(value, 0));
}

}  // namespace sluice::persistent
