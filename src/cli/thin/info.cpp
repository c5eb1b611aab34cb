// `sluice thin info`.
#include <fmt/format.h>

#include "cli/show.hpp"
#include "cli/thin/thin.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using persistent::SpaceMapRoot;
using persistent::Superblock;

Json space_json(const SpaceMapRoot& space, uint64_t block_bytes) {
  return Json{{"block-bytes", block_bytes}, {"blocks", space.blocks}, {"used", space.allocated}};
}

Json info_json(const OpenMetadata& pool, const ThinListing& listing) {
  const Superblock& superblock = pool.superblock;
  Json json = Json::object();
  json.set("filename", pool.disk->name());
  json.set("version", superblock.version);
  json.set("needs-check", superblock.needs_check());
  json.set("time", superblock.time);
  json.set("transaction", superblock.transaction_id);
  json.set("metadata-snapshot", superblock.metadata_snapshot);
  json.set("data", space_json(superblock.data_space_map, superblock.data_block_bytes()));
  json.set("metadata", space_json(superblock.metadata_space_map, persistent::kBlockBytes));
  json.set("devices", devices_json(listing, superblock.data_block_bytes()));
  return json;
}

std::string thin_field(std::string_view name, std::string_view value) {
  return fmt::format("{:<18} {}\n", name, value);
}

std::string space_text(const SpaceMapRoot& space, uint64_t block_bytes) {
  const double share = space.blocks == 0 ? 0
                                         : 100 * static_cast<double>(space.allocated) /
                                               static_cast<double>(space.blocks);
  return fmt::format("{} of {} blocks of {} ({:.2f}%)", space.allocated, space.blocks,
                     describe_size(block_bytes), share);
}

// A snapshot does not have the roots of the space maps.
std::string pool_text(const OpenMetadata& pool, bool is_snapshot) {
  const Superblock& superblock = pool.superblock;
  std::string text = thin_field("pool", printable(pool.disk->name(), std::string::npos));
  text += thin_field("transaction", fmt::format("{}", superblock.transaction_id));
  text += thin_field("time", fmt::format("{}", superblock.time));
  if (!is_snapshot) {
    text += thin_field("data used",
                       space_text(superblock.data_space_map, superblock.data_block_bytes()));
    text += thin_field("metadata used",
                       space_text(superblock.metadata_space_map, persistent::kBlockBytes));
  }
  if (superblock.metadata_snapshot != 0) {
    text += thin_field("metadata snapshot", fmt::format("block {}", superblock.metadata_snapshot));
  }
  if (superblock.needs_check())
    text += thin_field("needs check", "yes: 'sluice thin check --clear-needs-check' does it");
  return text;
}

}  // namespace

Outcome<void> show_thin(const CommandLine& line, const Streams& streams) {
  const auto pool = open_metadata(line);
  if (!pool) return std::unexpected(pool.error());
  const auto listing = list_thin_devices(*pool);
  if (!line.has("json")) {
    // Also of a pool whose devices cannot be read.
    streams.out << pool_text(*pool, line.has("metadata_snapshot"));
  }
  if (!listing) return std::unexpected(listing.error());
  streams.out << (line.has("json") ? written(info_json(*pool, *listing))
                                   : devices_text(*listing, pool->superblock.data_block_bytes()));
  return {};
}

}  // namespace sluice::cli
