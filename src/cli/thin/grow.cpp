// `sluice thin grow`.
#include <fmt/format.h>

#include "cli/thin/thin.hpp"
#include "cli/values.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using persistent::BlockReader;
using persistent::Transaction;

// Blocks, of a size that is a multiple of them.
Result<uint64_t> blocks_of(const CommandLine& line, std::string_view option, uint64_t block_bytes) {
  const auto size = read_size(line, option, 0, {block_bytes, kSizeMax});
  if (!size) return fail(EINVAL, size.error().text);
  if (*size % block_bytes == 0) return *size / block_bytes;
  return fail(EINVAL, fmt::format("--{} takes a multiple of {}, found {}: {}", option,
                                  format_size(block_bytes), format_size(*size),
                                  advise_multiple(*size, block_bytes, block_bytes)));
}

}  // namespace

Outcome<void> grow_pool(const CommandLine& line, const Streams&) {
  if (!line.has("data-size") && !line.has("metadata-size")) {
    return failed("'sluice thin grow' needs --data-size, --metadata-size or both");
  }
  return change_pool(line, [&](Transaction& pool, BlockReader&) -> Result<void> {
    // First, because bitmaps of the data may need the room.
    if (line.has("metadata-size")) {
      const auto blocks = blocks_of(line, "metadata-size", persistent::kBlockBytes);
      if (!blocks) return std::unexpected(blocks.error());
      if (auto grown = pool.grow_metadata(*blocks); !grown) return grown;
    }
    if (!line.has("data-size")) return {};
    const auto blocks = blocks_of(line, "data-size", pool.superblock().data_block_bytes());
    if (!blocks) return std::unexpected(blocks.error());
    return pool.grow_data(*blocks);
  });
}

}  // namespace sluice::cli
