#include "cli/mirror/show_legs.hpp"

#include <fmt/format.h>

#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using image::MirrorLeg;
using mirror::Decision;
using mirror::LegRecord;
using mirror::LegState;

std::string words(std::string_view text) { return printable(text, std::string::npos); }

std::string field(std::string_view name, std::string_view value) {
  return fmt::format("  {:<12} {}\n", name, value);
}

std::string bytes(uint64_t count) { return fmt::format("{} ({})", count, describe_size(count)); }

size_t number_of(const LegRecord& record) {
  size_t number = 1;
  for (const mirror::LegEntry& entry : record.legs) {
    if (entry.leg == record.leg) break;
    ++number;
  }
  return number;
}

std::string metadata_text(const LegRecord& record) {
  return fmt::format("at the {}, data from {}", name_of(record.places.placement),
                     record.places.data_offset);
}

std::string dirty_text(const MirrorLeg& leg) {
  const std::string damaged =
      leg.damaged_blocks == 0 ? "" : fmt::format(", {} damaged blocks", leg.damaged_blocks);
  return fmt::format("{} of {}, of {} each{}", leg.dirty_regions, leg.regions(),
                     describe_size(leg.record.region_bytes), damaged);
}

Json history_json(const mirror::History& history) {
  Json list = Json::array();
  for (const mirror::Generation& generation : history.generations()) {
    list.push_back(
        Json{{"id", fmt::format("{:016x}", generation.id)}, {"began", generation.seconds}});
  }
  return list;
}

Json table_json(const std::vector<mirror::LegEntry>& table) {
  Json list = Json::array();
  for (const mirror::LegEntry& entry : table) {
    list.push_back(
        Json{{"uuid", entry.leg.text()}, {"state", name_of(entry.state)}, {"label", entry.label}});
  }
  return list;
}

}  // namespace

std::string leg_text(const ExaminedLeg& examined) {
  const MirrorLeg& leg = examined.leg;
  const LegRecord& record = leg.record;
  std::string text = fmt::format("{}:\n", words(examined.name));
  text += field("array", fmt::format("{} {}", record.array.text(), words(record.name)));
  text += field("leg", fmt::format("{}, {} of {}, {}", record.leg.text(), number_of(record),
                                   record.legs.size(), name_of(record.state())));
  text += field("data", bytes(record.data_bytes));
  text += field("metadata", metadata_text(record));
  text += field("stopped", record.clean ? "cleanly" : "not cleanly, or in use");
  if (!record.owner.token.is_zero()) {
    text +=
        field("owner", fmt::format("{} {}", record.owner.token.text(), words(record.owner.host)));
  }
  text += field("dirty", dirty_text(leg));
  if (!leg.remark.empty()) text += field("superblock", leg.remark);
  std::string_view name = "generation";
  for (const mirror::Generation& generation : record.history.generations()) {
    const bool since = generation.id == record.bitmap_since;
    text += field(name, generation.text() + (since ? ", and the bitmap since then" : ""));
    name = "before";
  }
  size_t number = 0;
  for (const mirror::LegEntry& entry : record.legs) {
    text += field(
        fmt::format("leg {}", ++number),
        fmt::format("{}, {}: {}", entry.leg.text(), name_of(entry.state), words(entry.label)));
  }
  return text;
}

Json leg_json(const ExaminedLeg& examined) {
  const MirrorLeg& leg = examined.leg;
  const LegRecord& record = leg.record;
  Json json = Json::object();
  json.set("leg", examined.name);
  json.set("array", record.array.text());
  json.set("name", record.name);
  json.set("uuid", record.leg.text());
  json.set("state", name_of(record.state()));
  json.set("clean", record.clean);
  json.set("data_bytes", record.data_bytes);
  json.set("block_bytes", record.block_bytes);
  json.set("leg_bytes", leg.leg_bytes);
  json.set("metadata", name_of(record.places.placement));
  json.set("data_offset", record.places.data_offset);
  json.set("superblock_writes", leg.writes);
  json.set("bitmap", Json{{"offset", record.places.intent_offset},
                          {"bytes", record.places.intent_bytes},
                          {"region_bytes", record.region_bytes},
                          {"regions", leg.regions()},
                          {"dirty", leg.dirty_regions},
                          {"damaged_blocks", leg.damaged_blocks},
                          {"since", fmt::format("{:016x}", record.bitmap_since)}});
  if (!record.owner.token.is_zero()) {
    json.set("owner", Json{{"token", record.owner.token.text()}, {"host", record.owner.host}});
  }
  json.set("history", history_json(record.history));
  json.set("legs", table_json(record.legs));
  return json;
}

std::string decision_text(const std::vector<ExaminedLeg>& legs, const Decision& decision) {
  std::string text = "assembly:\n";
  if (decision.refusal) return text + field("refused", words(decision.refusal->text));
  for (size_t i = 0; i < legs.size(); ++i) {
    text += field(name_of(decision.legs[i].role),
                  fmt::format("{}: {}", words(legs[i].name), words(decision.legs[i].text)));
  }
  for (const Decision::Missing& missing : decision.missing) {
    text += field("missing", fmt::format("{}, {}: {}", missing.entry.leg.text(),
                                         name_of(missing.entry.state), words(missing.entry.label)));
  }
  return text + field("starts", decision.degraded ? "degraded: a leg that was in sync is missing"
                                                  : "with all data");
}

Json decision_json(const std::vector<ExaminedLeg>& legs, const Decision& decision) {
  Json json = Json::object();
  json.set("starts", !decision.refusal.has_value());
  if (decision.refusal) {
    json.set("refusal", decision.refusal->text);
    return json;
  }
  json.set("degraded", decision.degraded);
  json.set("new_generation", decision.new_generation);
  json.set("data_bytes", decision.data_bytes);
  Json roles = Json::array();
  for (size_t i = 0; i < legs.size(); ++i) {
    roles.push_back(Json{{"leg", legs[i].name},
                         {"role", name_of(decision.legs[i].role)},
                         {"why", decision.legs[i].text}});
  }
  json.set("legs", roles);
  std::vector<mirror::LegEntry> missing;
  for (const Decision::Missing& each : decision.missing) missing.push_back(each.entry);
  json.set("missing", table_json(missing));
  return json;
}

}  // namespace sluice::cli
