// `sluice thin list`.
#include <fmt/format.h>

#include "cli/show.hpp"
#include "cli/thin/thin.hpp"
#include "persistent/exclusive.hpp"
#include "spec/size.hpp"

namespace sluice::cli {

using persistent::ThinDevice;

Outcome<void> list_thin(const CommandLine& line, const Streams& streams) {
  const auto pool = open_metadata(line);
  if (!pool) return std::unexpected(pool.error());
  const auto listing = list_thin_devices(*pool);
  if (!listing) return std::unexpected(listing.error());
  const uint64_t block_bytes = pool->superblock.data_block_bytes();
  streams.out << (line.has("json") ? written(devices_json(*listing, block_bytes))
                                   : devices_text(*listing, block_bytes));
  return {};
}

Outcome<ThinListing> list_thin_devices(const OpenMetadata& pool) {
  auto devices = persistent::read_devices(*pool.reader, pool.superblock);
  if (!devices) return std::unexpected(blame_metadata(*pool.disk, devices.error()));
  auto exclusive = persistent::count_exclusive(*pool.reader, *devices);
  if (!exclusive) return std::unexpected(blame_metadata(*pool.disk, exclusive.error()));
  return ThinListing{std::move(*devices), std::move(*exclusive)};
}

std::string devices_text(const ThinListing& listing, uint64_t block_bytes) {
  if (listing.devices.empty()) return "no devices\n";
  std::string text = fmt::format("{:<10} {:>12} {:>12} {:>12} {:>12} {:>12}\n", "device", "mapped",
                                 "exclusive", "transaction", "created at", "snapshot at");
  for (size_t i = 0; i < listing.devices.size(); ++i) {
    const ThinDevice& device = listing.devices[i];
    text += fmt::format("{:<10} {:>12} {:>12} {:>12} {:>12} {:>12}\n", device.id,
                        describe_size(device.details.mapped_blocks * block_bytes),
                        describe_size(listing.exclusive[i] * block_bytes),
                        device.details.transaction_id, device.details.creation_time,
                        device.details.snapshotted_time);
  }
  return text;
}

JsonValue devices_json(const ThinListing& listing, uint64_t block_bytes) {
  Json list = Json::array();
  for (size_t i = 0; i < listing.devices.size(); ++i) {
    const ThinDevice& device = listing.devices[i];
    list.push_back(Json{{"id", device.id},
                        {"mapped-blocks", device.details.mapped_blocks},
                        {"mapped-bytes", device.details.mapped_blocks * block_bytes},
                        {"exclusive-blocks", listing.exclusive[i]},
                        {"exclusive-bytes", listing.exclusive[i] * block_bytes},
                        {"transaction", device.details.transaction_id},
                        {"creation-time", device.details.creation_time},
                        {"snapshot-time", device.details.snapshotted_time}});
  }
  return list;
}

}  // namespace sluice::cli
