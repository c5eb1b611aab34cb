// `sluice thin dump`: the XML of thin_dump, byte for byte.
#include <fmt/format.h>

#include <iterator>

#include "cli/thin/thin.hpp"
#include "persistent/devices.hpp"

namespace sluice::cli {
namespace {

using persistent::MappedRun;
using persistent::Superblock;
using persistent::ThinDevice;

constexpr size_t kTextMost = 64 << 10;  // is written then

void add_superblock(std::string& text, const Superblock& superblock) {
  // thin_dump never prints the UUID, which nobody sets.
  fmt::format_to(std::back_inserter(text),
                 R"(<superblock uuid="" time="{}" transaction="{}" flags="{}" version="{}" )"
                 R"(data_block_size="{}" nr_data_blocks="{}">)"
                 "\n",
                 superblock.time, superblock.transaction_id, superblock.flags, superblock.version,
                 superblock.data_block_sectors, superblock.data_space_map.blocks);
}

void add_device(std::string& text, const ThinDevice& device) {
  fmt::format_to(std::back_inserter(text),
                 R"(  <device dev_id="{}" mapped_blocks="{}" transaction="{}" creation_time="{}" )"
                 R"(snap_time="{}">)"
                 "\n",
                 device.id, device.details.mapped_blocks, device.details.transaction_id,
                 device.details.creation_time, device.details.snapshotted_time);
}

void add_run(std::string& text, const MappedRun& run) {
  const auto out = std::back_inserter(text);
  if (run.length == 1) {
    fmt::format_to(out,
                   R"(    <single_mapping origin_block="{}" data_block="{}" time="{}"/>)"
                   "\n",
                   run.device_block, run.data_block, run.time);
  } else {
    fmt::format_to(out,
                   R"(    <range_mapping origin_begin="{}" data_begin="{}" length="{}" time="{}"/>)"
                   "\n",
                   run.device_block, run.data_block, run.length, run.time);
  }
}

}  // namespace

Outcome<void> dump_thin(const CommandLine& line, const Streams& streams) {
  const auto pool = open_metadata(line);
  if (!pool) return std::unexpected(pool.error());
  const auto devices = persistent::read_devices(*pool->reader, pool->superblock);
  if (!devices) return std::unexpected(blame_metadata(*pool->disk, devices.error()));
  std::string text;
  const auto write = [&] {
    streams.out << text;
    text.clear();
  };
  add_superblock(text, pool->superblock);
  for (const ThinDevice& device : *devices) {
    add_device(text, device);
    const auto take = [&](const MappedRun& run) {
      add_run(text, run);
      if (text.size() >= kTextMost) write();
    };
    const auto done = persistent::for_each_run(*pool->reader, device.root, take);
    if (!done) {
      write();  // what could be read; the text is not complete
      return std::unexpected(blame_metadata(*pool->disk, done.error()));
    }
    text += "  </device>\n";
  }
  text += "</superblock>\n";
  write();
  return {};
}

}  // namespace sluice::cli
