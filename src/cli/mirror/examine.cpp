// `sluice mirror examine`.
#include <fmt/format.h>

#include "cli/mirror/mirror.hpp"
#include "cli/mirror/show_legs.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

Outcome<ExaminedLeg> examine_leg(const std::string& word) {
  const auto disk = open_leg(word, LegAccess::look);
  if (!disk) return std::unexpected(disk.error());
  auto leg = image::read_mirror_leg(**disk);
  if (!leg) return failed(leg.error());
  if (!*leg) return failed(fmt::format("{} has no mirror superblock", shown(word)));
  return ExaminedLeg{word, std::move(**leg)};
}

mirror::Decision decide_for(const std::vector<ExaminedLeg>& legs) {
  std::vector<mirror::PresentLeg> present;
  for (const ExaminedLeg& examined : legs) {
    present.push_back({.name = examined.name,
                       .record = examined.leg.record,
                       .leg_bytes = examined.leg.leg_bytes,
                       .dirty = examined.leg.dirty_regions != 0});
  }
  return mirror::decide(present);
}

}  // namespace

// A leg that has nothing to show is an error, but the others are shown.
Outcome<void> examine_mirror(const CommandLine& line, const Streams& streams) {
  std::vector<ExaminedLeg> legs;
  bool all = true;
  for (const std::string& word : leg_words(line)) {
    auto examined = examine_leg(word);
    if (!examined) {
      say(streams, examined.error().text);
      all = false;
      continue;
    }
    legs.push_back(std::move(*examined));
  }
  const bool several = leg_words(line).size() > 1 && !legs.empty();
  if (line.has("json")) {
    Json json = Json::object();
    Json list = Json::array();
    for (const ExaminedLeg& examined : legs) list.push_back(leg_json(examined));
    json.set("legs", list);
    if (several) json.set("assembly", decision_json(legs, decide_for(legs)));
    streams.out << written(json);
  } else {
    for (const ExaminedLeg& examined : legs) streams.out << leg_text(examined);
    if (several) streams.out << decision_text(legs, decide_for(legs));
  }
  if (all) return {};
  return failed(std::string());
}

}  // namespace sluice::cli
