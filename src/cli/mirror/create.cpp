// `sluice mirror create`.
#include <fmt/format.h>

#include <algorithm>

#include "cli/mirror/mirror.hpp"
#include "cli/values.hpp"
#include "image/foreign_content.hpp"
#include "image/mirror_leg.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/mirror/assembly.hpp"
#include "target/mirror/write_intent_format.hpp"

namespace sluice::cli {
namespace {

using image::OpenDisk;
using mirror::LegRecord;
using mirror::LegState;
using mirror::Placement;

constexpr uint64_t kDataUnit = mirror::kBlockBytesMost;

struct MirrorRequest {
  std::vector<std::string> names;
  size_t source = 0;
  size_t spares = 0;  // of the names, the last
  bool assume_clean = false;
  bool force = false;
  std::string name = {};
  bool is_spare(size_t leg) const { return leg >= names.size() - spares; }
  Placement placement = Placement::start;
  uint64_t data_offset = 0;   // 0: the smallest
  uint64_t region_bytes = 0;  // 0: the default
};

struct NewLeg {
  std::unique_ptr<OpenDisk> disk;
  LegRecord record = {};
};

Outcome<MirrorRequest> read_mirror_request(const CommandLine& line) {
  const auto words = leg_words(line);
  MirrorRequest request{.names = {words.begin(), words.end()},
                        .assume_clean = line.has("assume_clean"),
                        .force = line.has("force"),
                        .name = line.text("name")};
  if (words.size() < 2 || words.size() > mirror::kLegsMost) {
    return usage(fmt::format("a mirror has 2 to {} legs, and {} are given", mirror::kLegsMost,
                             words.size()));
  }
  const auto spares = read_number(line, "spares", 0, {0, words.size() - 2});
  if (!spares) return std::unexpected(spares.error());
  request.spares = *spares;
  if (line.has("from") && request.assume_clean) {
    return usage("--from copies a leg to the others, and --assume-clean copies none: give one");
  }
  if (line.has("from")) {
    const auto source = mirror::choose_leg(request.names, line.text("from"));
    if (!source) return usage(fmt::format("--from: {}", source.error().text));
    request.source = *source;
    if (request.is_spare(*source)) {
      return usage(
          fmt::format("--from: leg {} is to be a spare, which holds no data", *source + 1));
    }
  }
  const std::string metadata = line.text("metadata", "start");
  if (metadata != "start" && metadata != "end") {
    return usage(fmt::format("--metadata takes 'start' or 'end', found {}", shown(metadata)));
  }
  request.placement = metadata == "end" ? Placement::end : Placement::start;
  if (mirror::label_of(request.name, mirror::kNameBytesMost) != request.name) {
    return usage(fmt::format("--name takes up to {} bytes of text, found {}",
                             mirror::kNameBytesMost, shown(request.name)));
  }
  const auto offset = read_size(line, "data_offset", 0, {mirror::kDataOffsetUnit, kSizeMax});
  if (!offset) return std::unexpected(offset.error());
  const auto region =
      read_size(line, "region", 0, {mirror::kRegionBytesLeast, mirror::kRegionBytesMost});
  if (!region) return std::unexpected(region.error());
  if (*region != 0 && !mirror::is_region_size(*region)) {
    return usage(fmt::format("--region takes a power of two, found {}", format_size(*region)));
  }
  request.data_offset = *offset;
  request.region_bytes = *region;
  return request;
}

// With --metadata end the data of the source stays, and with --assume-clean that of all legs.
bool keeps_content(const MirrorRequest& request, size_t leg) {
  return request.placement == Placement::end && !request.is_spare(leg) &&
         (request.assume_clean || leg == request.source);
}

Outcome<void> check_content(const MirrorRequest& request, size_t index, OpenDisk& disk) {
  const std::string name = shown(request.names[index]);
  const auto leg = image::read_mirror_leg(disk);
  if (!leg) return failed(fmt::format("{}; --force overwrites it", leg.error().text));
  if (*leg) {
    return failed(
        fmt::format("{} is a leg of the mirror {} {} already: erase that with 'sluice "
                    "mirror forget', or give --force",
                    name, (*leg)->record.array.text(), shown((*leg)->record.name)));
  }
  const auto content = image::find_foreign_content(disk);
  if (!content) return failed(content.error());
  if (content->empty() || keeps_content(request, index)) return {};
  const bool is_source = request.placement == Placement::start && index == request.source;
  return failed(fmt::format("{} has {}: give --force to overwrite it{}", name, *content,
                            is_source ? ", or --metadata end to keep it" : ""));
}

Outcome<std::vector<NewLeg>> open_legs(const MirrorRequest& request) {
  std::vector<NewLeg> legs;
  for (size_t i = 0; i < request.names.size(); ++i) {
    auto disk = open_leg(request.names[i], LegAccess::write);
    if (!disk) return std::unexpected(disk.error());
    if ((*disk)->block_bytes() > mirror::kBlockBytesMost) {
      return failed(fmt::format("{} has blocks of {} bytes, and a leg may have at most {}",
                                shown(request.names[i]), (*disk)->block_bytes(),
                                mirror::kBlockBytesMost));
    }
    if (!request.force) {
      if (auto checked = check_content(request, i, **disk); !checked) {
        return std::unexpected(checked.error());
      }
    }
    legs.push_back({.disk = std::move(*disk)});
  }
  return legs;
}

// The end of a disk whose data stays must be free.
Outcome<void> check_end(const MirrorRequest& request, size_t index, const NewLeg& leg) {
  if (request.force || !keeps_content(request, index)) return {};
  const uint64_t first = leg.record.places.intent_offset;
  const uint64_t length = image::leg_bytes(*leg.disk) - first;
  const auto zero = image::is_zero(*leg.disk, first, length);
  if (!zero) return failed(zero.error());
  if (*zero) return {};
  return failed(
      fmt::format("the last {} of {}, where the metadata goes, are not zeroes: make the "
                  "disk larger, or give --force to overwrite them",
                  describe_size(length), shown(request.names[index])));
}

Outcome<void> place_legs(const MirrorRequest& request, std::vector<NewLeg>& legs) {
  uint64_t smallest = kSizeMax;
  uint32_t block_bytes = 512;
  for (const NewLeg& leg : legs) {
    smallest = std::min(smallest, image::leg_bytes(*leg.disk));
    block_bytes = std::max(block_bytes, leg.disk->block_bytes());
  }
  const uint32_t region = request.region_bytes != 0 ? static_cast<uint32_t>(request.region_bytes)
                                                    : mirror::default_region_bytes(smallest);
  uint64_t data_bytes = kSizeMax;
  for (size_t i = 0; i < legs.size(); ++i) {
    LegRecord& record = legs[i].record;
    record.leg_bytes = image::leg_bytes(*legs[i].disk);
    const auto places = mirror::place_leg({.placement = request.placement,
                                           .leg_bytes = record.leg_bytes,
                                           .data_bytes = smallest,
                                           .region_bytes = region,
                                           .data_offset = request.data_offset});
    if (!places) return failed(fmt::format("{}: {}", shown(request.names[i]), places.error().text));
    record.places = *places;
    if (auto checked = check_end(request, i, legs[i]); !checked) return checked;
    data_bytes = std::min(data_bytes, places->data_room(record.leg_bytes));
  }
  for (NewLeg& leg : legs) {
    leg.record.data_bytes = data_bytes / kDataUnit * kDataUnit;
    leg.record.block_bytes = block_bytes;
    leg.record.region_bytes = region;
  }
  return {};
}

void fill_records(const MirrorRequest& request, std::vector<NewLeg>& legs) {
  const mirror::Uuid array = mirror::Uuid::random();
  const mirror::Generation generation = mirror::Generation::begin_now();
  std::vector<mirror::LegEntry> table;
  for (size_t i = 0; i < legs.size(); ++i) {
    const bool in_sync = request.assume_clean || i == request.source;
    table.push_back({.leg = mirror::Uuid::random(),
                     .state = request.is_spare(i) ? LegState::spare
                              : in_sync           ? LegState::in_sync
                                                  : LegState::stale,
                     .label = mirror::label_of(request.names[i])});
  }
  for (size_t i = 0; i < legs.size(); ++i) {
    LegRecord& record = legs[i].record;
    record.array = array;
    record.leg = table[i].leg;
    record.name = request.name;
    record.history = mirror::History(generation);
    record.bitmap_since = generation.id;
    record.legs = table;
    record.clean = request.assume_clean;
  }
}

// The source comes last, and before it no leg calls itself in sync: what a crash leaves does not
// start.
Outcome<void> write_legs(const MirrorRequest& request, const std::vector<NewLeg>& legs) {
  const auto incomplete = [](const Error& error) {
    return failed(
        fmt::format("{}; the mirror is not complete: create it again with --force", error.text));
  };
  for (size_t i = 0; i < legs.size(); ++i) {
    if (i == request.source) continue;
    LegRecord record = legs[i].record;
    const bool is_spare = request.is_spare(i);
    if (!is_spare) record.find(record.leg)->state = LegState::stale;
    const bool lacks_all = !request.assume_clean && !is_spare;
    const auto written = image::write_mirror_leg(*legs[i].disk, record, lacks_all);
    if (!written) return incomplete(written.error());
  }
  const NewLeg& source = legs[request.source];
  const auto written = image::write_mirror_leg(*source.disk, source.record, !request.assume_clean);
  if (!written) return incomplete(written.error());
  for (size_t i = 0; i < legs.size() && request.assume_clean; ++i) {
    if (i == request.source || request.is_spare(i)) continue;
    const auto again = image::write_mirror_superblock(*legs[i].disk, legs[i].record);
    if (!again) return incomplete(again.error());
  }
  return {};
}

void tell(const MirrorRequest& request, const std::vector<NewLeg>& legs, const Streams& streams) {
  const LegRecord& record = legs.front().record;
  streams.out << fmt::format("mirror {}{}: {} of data, regions of {}\n", record.array.text(),
                             record.name.empty() ? "" : fmt::format(" {}", shown(record.name)),
                             describe_size(record.data_bytes), describe_size(record.region_bytes));
  for (size_t i = 0; i < legs.size(); ++i) {
    const bool copied = legs[i].record.state() == LegState::stale;
    streams.out << fmt::format(
        "leg {}: {}, {}\n", i + 1, printable(request.names[i], std::string::npos),
        copied ? fmt::format("copied from leg {} when the mirror is added", request.source + 1)
               : std::string(name_of(legs[i].record.state())));
    const uint64_t room = legs[i].record.places.data_room(legs[i].record.leg_bytes);
    if (room / 100 * 99 <= record.data_bytes) continue;
    say(streams, fmt::format("note: {} has room for {}, of which the smallest leg leaves {} unused",
                             shown(request.names[i]), describe_size(room),
                             describe_size(room - record.data_bytes)));
  }
  if (request.assume_clean) {
    say(streams,
        "warning: the legs are not compared: where they differ, each read gets the data of "
        "one or the other, until a scrub repairs it");
  }
  if (request.placement == Placement::end) {
    say(streams,
        "warning: a leg that is mounted or written by itself changes behind the mirror's "
        "back, and what is on it must fit into the data of the mirror: shrink a file "
        "system that is larger");
  }
}

}  // namespace

Outcome<void> create_mirror(const CommandLine& line, const Streams& streams) {
  const auto request = read_mirror_request(line);
  if (!request) return std::unexpected(request.error());
  auto legs = open_legs(*request);
  if (!legs) return std::unexpected(legs.error());
  if (auto placed = place_legs(*request, *legs); !placed) return placed;
  fill_records(*request, *legs);
  if (auto written = write_legs(*request, *legs); !written) return written;
  tell(*request, *legs, streams);
  return {};
}

}  // namespace sluice::cli
