// `sluice thin create-pool`.
#include <fmt/format.h>

#include <cerrno>

#include "cli/thin/thin.hpp"
#include "cli/values.hpp"
#include "image/metadata_writer.hpp"
#include "persistent/transaction.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using persistent::Transaction;

constexpr uint64_t kBlockUnit =
    uint64_t{persistent::kDataBlockSectorsUnit} * persistent::kSectorBytes;
constexpr uint64_t kBlockMost =
    uint64_t{persistent::kDataBlockSectorsMost} * persistent::kSectorBytes;

}  // namespace

Outcome<uint64_t> data_block_bytes(const CommandLine& line) {
  const auto block = read_size(line, "block", kBlockUnit, {kBlockUnit, kBlockMost});
  if (!block) return failed(block.error().text);
  if (*block % kBlockUnit == 0) return *block;
  return failed(fmt::format("-b takes a multiple of 64k, found {}: {}", format_size(*block),
                            advise_multiple(*block, kBlockUnit, kBlockUnit, kBlockMost)));
}

// The superblock is written last: what an interruption leaves is no pool.
Outcome<void> create_pool(const CommandLine& line, const Streams& streams) {
  const auto block = data_block_bytes(line);
  if (!block) return std::unexpected(block.error());
  const auto metadata = open_thin_disk(line, thin_words(line)[0], ThinAccess::write);
  if (!metadata) return std::unexpected(metadata.error());
  const auto data = open_thin_disk(line, thin_words(line)[1], ThinAccess::read, metadata->get());
  if (!data) return std::unexpected(data.error());
  for (image::OpenDisk* const disk : {metadata->get(), data->get()}) {
    if (auto checked = check_is_unused(line, *disk); !checked) return checked;
  }
  const uint64_t data_blocks = (*data)->size_bytes() / *block;
  if (data_blocks == 0) {
    return failed(fmt::format("{} is smaller than a block of {}", shown((*data)->name()),
                              format_size(*block)));
  }
  image::MetadataReader reader(**metadata);
  image::MetadataWriter writer(**metadata, reader);
  auto pool = Transaction::create(
      reader, {.metadata_blocks = reader.blocks(),
               .data_blocks = data_blocks,
               .data_block_sectors = static_cast<uint32_t>(*block / persistent::kSectorBytes)});
  if (!pool && pool.error().error == ENOSPC) {
    return failed(
        fmt::format("{} is too small for a pool of {} data blocks: give it more space, "
                    "or the pool larger blocks (-b)",
                    shown((*metadata)->name()), data_blocks));
  }
  if (!pool) return std::unexpected(blame_metadata(**metadata, pool.error()));
  if (auto erased = writer.erase_superblock(); !erased) {
    return std::unexpected(blame_metadata(**metadata, erased.error()));
  }
  if (auto committed = (*pool)->commit(writer); !committed) {
    return std::unexpected(blame_metadata(**metadata, committed.error()));
  }
  const uint64_t metadata_bytes =
      (*pool)->superblock().metadata_space_map.blocks * persistent::kBlockBytes;
  streams.out << fmt::format("pool: {} data blocks of {}, {} of metadata\n", data_blocks,
                             describe_size(*block), describe_size(metadata_bytes));
  return {};
}

}  // namespace sluice::cli
