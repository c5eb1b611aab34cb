#include "persistent/superblock.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/little_endian.hpp"

namespace sluice::persistent {
namespace {

constexpr uint64_t kMagic = 27022010;
constexpr uint32_t kVersion = 2;
constexpr uint32_t kMetadataBlockSectors = kBlockBytes / kSectorBytes;

constexpr size_t kUuidPlace = 16;
constexpr size_t kMagicPlace = 32;
constexpr size_t kDataSpaceMapPlace = 64;
constexpr size_t kMetadataSpaceMapPlace = 192;

Result<void> check_geometry(const Superblock& superblock, uint32_t metadata_block_sectors) {
  if (metadata_block_sectors != kMetadataBlockSectors) {
    return fail(EOPNOTSUPP, fmt::format("its metadata blocks have {} sectors, and only {} are read",
                                        metadata_block_sectors, kMetadataBlockSectors));
  }
  const uint32_t sectors = superblock.data_block_sectors;
  if (sectors == 0 || sectors > kDataBlockSectorsMost || sectors % kDataBlockSectorsUnit != 0) {
    return fail(EILSEQ, fmt::format("its data blocks have {} sectors, and not a multiple of {} up "
                                    "to {}",
                                    sectors, kDataBlockSectorsUnit, kDataBlockSectorsMost));
  }
  return {};
}

}  // namespace

Result<Superblock> read_superblock(ConstBlock block, uint64_t number) {
  const auto magic = load_little_endian<uint64_t>(block, kMagicPlace);
  if (magic != kMagic) {
    return fail(EINVAL, fmt::format("block {} is no superblock of a thin pool: its magic is {}, "
                                    "not {}",
                                    number, magic, kMagic));
  }
  if (auto verified = verify(BlockKind::superblock, number, block); !verified) {
    return std::unexpected(verified.error());
  }
  Superblock found{
      .flags = load_little_endian<uint32_t>(block, 4),
      .version = load_little_endian<uint32_t>(block, 40),
      .time = load_little_endian<uint32_t>(block, 44),
      .transaction_id = load_little_endian<uint64_t>(block, 48),
      .metadata_snapshot = load_little_endian<uint64_t>(block, 56),
      .data_space_map =
          load_space_map_root(block.subspan<kDataSpaceMapPlace, SpaceMapRoot::kBytes>()),
      .metadata_space_map =
          load_space_map_root(block.subspan<kMetadataSpaceMapPlace, SpaceMapRoot::kBytes>()),
      .mapping_root = load_little_endian<uint64_t>(block, 320),
      .device_root = load_little_endian<uint64_t>(block, 328),
      .data_block_sectors = load_little_endian<uint32_t>(block, 336),
      .metadata_blocks = load_little_endian<uint64_t>(block, 344),
      .compatible = load_little_endian<uint32_t>(block, 352),
      .read_only_compatible = load_little_endian<uint32_t>(block, 356),
      .incompatible = load_little_endian<uint32_t>(block, 360)};
  std::ranges::copy(block.subspan<kUuidPlace, 16>(), found.uuid.begin());
  if (found.version != kVersion) {
    return fail(EOPNOTSUPP,
                fmt::format("it has version {}, and only {} is read", found.version, kVersion));
  }
  if (found.incompatible != 0) {
    return fail(EOPNOTSUPP, fmt::format("it has features that this program does not know: {:#x}",
                                        found.incompatible));
  }
  const auto checked = check_geometry(found, load_little_endian<uint32_t>(block, 340));
  if (!checked) return std::unexpected(checked.error());
  return found;
}

void write_superblock(const Superblock& superblock, Block block, uint64_t number) {
  std::ranges::fill(block, std::byte{});
  store_little_endian(block, 4, superblock.flags);
  std::ranges::copy(superblock.uuid, block.subspan<kUuidPlace, 16>().begin());
  store_little_endian(block, kMagicPlace, kMagic);
  store_little_endian(block, 40, superblock.version);
  store_little_endian(block, 44, superblock.time);
  store_little_endian(block, 48, superblock.transaction_id);
  store_little_endian(block, 56, superblock.metadata_snapshot);
  store(superblock.data_space_map, block.subspan<kDataSpaceMapPlace, SpaceMapRoot::kBytes>());
  store(superblock.metadata_space_map,
        block.subspan<kMetadataSpaceMapPlace, SpaceMapRoot::kBytes>());
  store_little_endian(block, 320, superblock.mapping_root);
  store_little_endian(block, 328, superblock.device_root);
  store_little_endian(block, 336, superblock.data_block_sectors);
  store_little_endian(block, 340, kMetadataBlockSectors);
  store_little_endian(block, 344, superblock.metadata_blocks);
  store_little_endian(block, 352, superblock.compatible);
  store_little_endian(block, 356, superblock.read_only_compatible);
  store_little_endian(block, 360, superblock.incompatible);
  seal(BlockKind::superblock, number, block);
}

DeviceDetails load_device_details(std::span<const std::byte> bytes) {
  return {.mapped_blocks = load_little_endian<uint64_t>(bytes, 0),
          .transaction_id = load_little_endian<uint64_t>(bytes, 8),
          .creation_time = load_little_endian<uint32_t>(bytes, 16),
          .snapshotted_time = load_little_endian<uint32_t>(bytes, 20)};
}

void store(const DeviceDetails& details, std::span<std::byte, DeviceDetails::kBytes> bytes) {
  store_little_endian(bytes, 0, details.mapped_blocks);
  store_little_endian(bytes, 8, details.transaction_id);
  store_little_endian(bytes, 16, details.creation_time);
  store_little_endian(bytes, 20, details.snapshotted_time);
}

}  // namespace sluice::persistent
