// `sluice thin trim`.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "cli/image/progress.hpp"
#include "cli/thin/thin.hpp"
#include "persistent/check.hpp"
#include "persistent/free_runs.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using persistent::Superblock;

constexpr uint64_t kDiscardMost = uint64_t{1} << 30;  // at a time

// What is in use and counted as free would be lost.
Outcome<void> check_counts(const image::OpenDisk& disk, image::MetadataReader& reader) {
  const auto result = persistent::check(reader, {});
  if (!result) return std::unexpected(blame_metadata(disk, result.error()));
  if (result->needs_check) {
    return std::unexpected(
        blame_metadata(disk, {EUCLEAN, "the metadata is marked as one that needs a check"}));
  }
  if (result->corruptions == 0 && result->check_errors == 0) return {};
  return failed(
      fmt::format("{} has {} corruptions, so that blocks in use may count as free: repair "
                  "it first ('sluice thin repair')",
                  shown(disk.name()), result->corruptions + result->check_errors));
}

}  // namespace

Outcome<void> trim_pool(const CommandLine& line, const Streams& streams) {
  // Nobody changes the pool meanwhile.
  const auto metadata = open_thin_disk(line, thin_words(line)[0], ThinAccess::write);
  if (!metadata) return std::unexpected(metadata.error());
  image::MetadataReader reader(**metadata);
  if (auto checked = check_counts(**metadata, reader); !checked) return checked;
  const auto superblock = persistent::load_superblock(reader);
  if (!superblock) return std::unexpected(blame_metadata(**metadata, superblock.error()));
  const auto data = open_data_disk(thin_words(line)[1], **metadata);
  if (!data) return std::unexpected(data.error());
  const uint64_t block_bytes = superblock->data_block_bytes();
  const uint64_t blocks = superblock->data_space_map.blocks;
  if ((*data)->size_bytes() / block_bytes < blocks) {
    return failed(
        fmt::format("{} has {}, and the data of the pool {} blocks of {}: it belongs to "
                    "another pool",
                    shown((*data)->name()), describe_size((*data)->size_bytes()), blocks,
                    describe_size(block_bytes)));
  }
  uint64_t discarded = 0;
  Result<void> done;
  {
    Progress progress(streams.error, line.has("progress"));
    const auto discard = [&](uint64_t first, uint64_t length) -> Result<void> {
      const uint64_t end = (first + length) * block_bytes;
      for (uint64_t offset = first * block_bytes; offset < end;) {
        const uint64_t bytes = std::min(kDiscardMost, end - offset);
        const Status status = (*data)->discard(offset, bytes);
        if (!status.ok()) return std::unexpected((*data)->explain("discard", offset, status));
        offset += bytes;
        progress.tell(offset, blocks * block_bytes);
      }
      discarded += length;
      return {};
    };
    done = persistent::for_each_free_run(reader, superblock->data_space_map, discard);
    progress.tell(1, 1);
  }
  if (!done) return failed(done.error());
  if (const Status status = (*data)->flush(); !status.ok()) {
    return failed((*data)->explain("flush", 0, status));
  }
  streams.out << fmt::format("{} of {} data blocks are free: {} discarded\n", discarded, blocks,
                             describe_size(discarded * block_bytes));
  return {};
}

}  // namespace sluice::cli
