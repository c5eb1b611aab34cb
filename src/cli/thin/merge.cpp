// `sluice thin merge`.
#include <fmt/format.h>

#include <algorithm>

#include "cli/thin/thin.hpp"
#include "persistent/mapped_runs.hpp"

namespace sluice::cli {
namespace {

using persistent::BlockReader;
using persistent::MappedRuns;
using persistent::Mapping;
using persistent::ThinDevice;
using persistent::Transaction;

Result<ThinDevice> device_with(const std::vector<ThinDevice>& devices, uint64_t id) {
  const auto found = std::ranges::find(devices, id, &ThinDevice::id);
  if (found != devices.end()) return *found;
  return fail(ENODEV, fmt::format("there is no thin device {}", id));
}

// `target` gets what `source` has mapped, as the last transaction has it: in place of its own, or
// only where it has nothing.
struct Adoption {
  const ThinDevice& source;
  const ThinDevice& target;
  bool replaces;
};

Result<void> adopt_all(Transaction& pool, BlockReader& reader, const Adoption& adoption) {
  MappedRuns runs(reader, adoption.source.root);
  for (;;) {
    const auto run = runs.next();
    if (!run) return std::unexpected(run.error());
    if (!*run) return {};
    for (uint64_t i = 0; i < (*run)->length; ++i) {
      const uint64_t block = (*run)->device_block + i;
      const Mapping mapping{.data_block = (*run)->data_block + i, .time = (*run)->time};
      const auto own = pool.find(adoption.target.id, block);
      if (!own) return std::unexpected(own.error());
      const bool is_there = *own && (!adoption.replaces || **own == mapping);
      if (is_there) continue;
      auto adopted = pool.adopt(adoption.target.id, block, mapping);
      if (!adopted) return adopted;
    }
  }
}

}  // namespace

Outcome<void> merge_thin_devices(const CommandLine& line, const Streams&) {
  const auto origin_id = option_device_id(line, "origin");
  if (!origin_id) return std::unexpected(origin_id.error());
  const auto snapshot_id = option_device_id(line, "snapshot");
  if (!snapshot_id) return std::unexpected(snapshot_id.error());
  if (*origin_id == *snapshot_id) return failed("a device cannot be merged with itself");
  const bool rebases = line.has("rebase");
  return change_pool(line, [&](Transaction& pool, BlockReader& reader) -> Result<void> {
    const auto devices = persistent::read_devices(reader, pool.superblock());
    if (!devices) return std::unexpected(devices.error());
    const auto origin = device_with(*devices, *origin_id);
    if (!origin) return std::unexpected(origin.error());
    const auto snapshot = device_with(*devices, *snapshot_id);
    if (!snapshot) return std::unexpected(snapshot.error());
    const Adoption adoption =
        rebases ? Adoption{*origin, *snapshot, false} : Adoption{*snapshot, *origin, true};
    if (auto adopted = adopt_all(pool, reader, adoption); !adopted) return adopted;
    // Others may have what was adopted: of the device that it came from, or its snapshots.
    if (auto shared = pool.share_all(*snapshot_id); !shared) return shared;
    if (auto shared = pool.share_all(*origin_id); !shared) return shared;
    return rebases ? Result<void>() : pool.remove_device(*snapshot_id);
  });
}

}  // namespace sluice::cli
