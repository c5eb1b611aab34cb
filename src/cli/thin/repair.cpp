// `sluice thin repair`.
#include <fmt/format.h>

#include "cli/image/progress.hpp"
#include "cli/show.hpp"
#include "cli/thin/thin.hpp"
#include "cli/values.hpp"
#include "image/pool_restore.hpp"
#include "persistent/salvage.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

using persistent::Salvage;
using persistent::SalvageFacts;
using persistent::ThinDevice;

Outcome<SalvageFacts> facts_of(const CommandLine& line) {
  SalvageFacts facts;
  if (line.has("block")) {
    const auto block = data_block_bytes(line);
    if (!block) return std::unexpected(block.error());
    facts.data_block_sectors = static_cast<uint32_t>(*block / persistent::kSectorBytes);
  }
  if (line.has("data-blocks")) {
    const auto blocks = read_number(line, "data-blocks", 0, {1, persistent::kDataBlocksMost});
    if (!blocks) return std::unexpected(blocks.error());
    facts.data_blocks = *blocks;
  }
  if (line.has("transaction-id")) {
    const auto id = read_number(line, "transaction-id", 0, {});
    if (!id) return std::unexpected(id.error());
    facts.transaction_id = *id;
  }
  return facts;
}

Result<void> write_pool(persistent::BlockReader& damaged, const Salvage& salvage,
                        image::PoolRestore& pool) {
  auto made = pool.pool({.time = salvage.time,
                         .transaction_id = salvage.transaction_id,
                         .data_block_sectors = salvage.data_block_sectors,
                         .data_blocks = salvage.data_blocks});
  if (!made) return made;
  for (const ThinDevice& device : salvage.devices) {
    if (auto begun = pool.device(device.id, device.details); !begun) return begun;
    auto done = persistent::for_each_salvaged_run(
        damaged, salvage, device, [&](const persistent::MappedRun& run) { return pool.run(run); });
    if (!done) return done;
  }
  return pool.end();
}

std::string salvage_text(const Salvage& salvage) {
  std::string text;
  uint64_t mapped = 0;
  for (const std::string& each : salvage.sentences) {
    text += printable(each, std::string::npos) + "\n";
  }
  if (salvage.more_sentences != 0) text += fmt::format("{} more losses\n", salvage.more_sentences);
  for (const ThinDevice& device : salvage.devices) mapped += device.details.mapped_blocks;
  return text + fmt::format("a new pool with {} devices and {} mapped blocks\n",
                            salvage.devices.size(), mapped);
}

Json salvage_json(const Salvage& salvage) {
  Json devices = Json::array();
  for (const ThinDevice& device : salvage.devices) {
    devices.push_back(Json{{"id", device.id}, {"mapped-blocks", device.details.mapped_blocks}});
  }
  return Json{{"transaction", salvage.transaction_id},
              {"data-blocks", salvage.data_blocks},
              {"devices", devices},
              {"losses", salvage.sentences},
              {"more-losses", salvage.more_sentences}};
}

}  // namespace

// The damaged metadata is only read.
Outcome<void> repair_pool(const CommandLine& line, const Streams& streams) {
  if (!line.has("output")) {
    return failed("'sluice thin repair' needs --output: it makes a new pool, in another place");
  }
  const auto facts = facts_of(line);
  if (!facts) return std::unexpected(facts.error());
  const auto damaged = open_thin_disk(line, thin_words(line)[0], ThinAccess::read);
  if (!damaged) return std::unexpected(damaged.error());
  const auto output = open_thin_disk(line, line.text("output"), ThinAccess::write, damaged->get());
  if (!output) return std::unexpected(output.error());
  if (auto checked = check_is_unused(line, **output); !checked) return checked;
  image::MetadataReader reader(**damaged);
  Result<Salvage> salvage;
  {
    Progress progress(streams.error, line.has("progress"));
    salvage = persistent::find_salvage(
        reader, *facts, [&](uint64_t done, uint64_t all) { progress.tell(done, all); });
    progress.tell(1, 1);
  }
  if (!salvage) {
    auto failure = blame_metadata(**damaged, salvage.error());
    if (!facts->data_block_sectors) failure.text += ": give -b, --data-blocks and --transaction-id";
    return std::unexpected(failure);
  }
  image::MetadataReader output_reader(**output);
  image::MetadataWriter writer(**output, output_reader);
  image::PoolRestore pool(output_reader, writer);
  if (auto written = write_pool(reader, *salvage, pool); !written) {
    return std::unexpected(blame_metadata(**output, written.error()));
  }
  streams.out << (line.has("json") ? written(salvage_json(*salvage)) : salvage_text(*salvage));
  return {};
}

}  // namespace sluice::cli
