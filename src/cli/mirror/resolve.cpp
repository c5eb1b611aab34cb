// `sluice mirror promote` and `sluice mirror discard`.
#include "target/mirror/resolve.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/mirror/mirror.hpp"
#include "cli/show.hpp"
#include "image/mirror_leg.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using image::OpenDisk;
using mirror::LegWrite;
using mirror::PresentLeg;

// Legs that nobody else uses as long as this lives.
struct LockedLegs {
  std::vector<std::unique_ptr<OpenDisk>> disks;
  std::vector<PresentLeg> found;
  uint64_t dirty_bytes = 0;  // the most of a leg
};

Outcome<LockedLegs> lock_legs(std::span<const std::string> words) {
  LockedLegs legs;
  for (const std::string& word : words) {
    auto disk = open_leg(word, LegAccess::write);
    if (!disk) return std::unexpected(disk.error());
    auto leg = image::read_mirror_leg(**disk);
    if (!leg) return failed(leg.error());
    if (!*leg) return failed(fmt::format("{} has no mirror superblock", shown(word)));
    legs.dirty_bytes = std::max(
        legs.dirty_bytes,
        std::min((*leg)->dirty_regions * (*leg)->record.region_bytes, (*leg)->record.data_bytes));
    legs.found.push_back({.name = word,
                          .record = std::move((*leg)->record),
                          .leg_bytes = (*leg)->leg_bytes,
                          .dirty = (*leg)->dirty_regions != 0});
    legs.disks.push_back(std::move(*disk));
  }
  return legs;
}

Outcome<void> carry_out(const LockedLegs& legs, std::span<const LegWrite> writes) {
  for (const LegWrite& write : writes) {
    OpenDisk& disk = *legs.disks[write.leg];
    const auto written = write.what == LegWrite::What::all_bits
                             ? image::mark_mirror_leg(disk, write.record)
                             : image::write_mirror_superblock(disk, write.record);
    if (!written) {
      return failed(
          fmt::format("{}; not all is written: give the command again", written.error().text));
    }
  }
  return {};
}

Json owner_json(const mirror::Owner& owner) {
  return Json{{"token", owner.token.text()}, {"host", owner.host}};
}

std::string words_of(std::span<const std::string> words) {
  std::vector<std::string> parts;
  for (const std::string& word : words) parts.push_back(printable(word, std::string::npos));
  return fmt::format("{}", fmt::join(parts, ", "));
}

void tell_promotion(const LockedLegs& legs, const mirror::LegRecord& now, const Streams& streams) {
  const mirror::Owner& former = legs.found.front().record.owner;
  const std::string host = former.host.empty() ? "" : fmt::format(" by {}", shown(former.host));
  std::vector<std::string> without;
  for (const mirror::LegEntry& entry : legs.found.front().record.legs) {
    const auto* const next = now.find(entry.leg);
    if (next != nullptr && next->state == entry.state) continue;
    without.push_back(fmt::format("{} ({})", shown(entry.label), entry.leg.text()));
  }
  const std::string others = fmt::format("{}", fmt::join(without, ", "));
  streams.out << fmt::format("goes on without {}\n", others);
  say(streams,
      fmt::format("note: what was written{} before, and was not flushed, may be lost", host));
  if (legs.dirty_bytes != 0) {
    say(streams, fmt::format("note: writes to {} of the data had not rested: each of them may be "
                             "there or not, unless it was flushed",
                             describe_size(legs.dirty_bytes)));
  }
  say(streams, fmt::format("warning: if {} is still written to{}, the two are written apart from "
                           "now on, and what one of them has will have to be discarded",
                           others, host));
}

}  // namespace

Outcome<void> promote_mirror(const CommandLine& line, const Streams& streams) {
  const auto words = leg_words(line);
  const auto legs = lock_legs(words);
  if (!legs) return std::unexpected(legs.error());
  const auto writes = mirror::plan_promotion(legs->found, mirror::Owner::of_this_host(),
                                             mirror::Generation::begin_now());
  if (!writes) return failed(writes.error());
  if (auto done = carry_out(*legs, *writes); !done) return done;
  const bool is_done = !writes->empty();
  const mirror::LegRecord& now = is_done ? writes->front().record : legs->found.front().record;
  if (line.has("json")) {
    Json json = Json::object();
    json.set("changed", is_done);
    json.set("legs", std::vector<std::string>(words.begin(), words.end()));
    json.set("array", now.array.text());
    json.set("generation", fmt::format("{:016x}", now.history.current().id));
    json.set("owner", owner_json(now.owner));
    if (is_done) json.set("former_owner", owner_json(legs->found.front().record.owner));
    if (is_done) json.set("dirty_bytes", legs->dirty_bytes);
    streams.out << written(json);
    return {};
  }
  if (!is_done) {
    streams.out << fmt::format("{}: promoted already: no leg is missing that was in sync\n",
                               words_of(words));
    return {};
  }
  streams.out << fmt::format("{}: promoted, generation {}\n", words_of(words),
                             now.history.current().text());
  tell_promotion(*legs, now, streams);
  return {};
}

Outcome<void> discard_mirror(const CommandLine& line, const Streams& streams) {
  const auto discarded = leg_words(line);
  if (!line.has("keep")) {
    return usage("'sluice mirror discard' needs --keep with the leg whose data stays");
  }
  const std::string kept = line.text("keep");
  if (std::ranges::count(discarded, kept) != 0) {
    return usage(fmt::format("{} is kept: it cannot be discarded, too", shown(kept)));
  }
  std::vector<std::string> words = {kept};
  words.insert(words.end(), discarded.begin(), discarded.end());
  const auto legs = lock_legs(words);
  if (!legs) return std::unexpected(legs.error());
  const auto writes =
      mirror::plan_discard(legs->found, line.has("force"), mirror::Generation::begin_now());
  if (!writes) return failed(writes.error());
  if (auto done = carry_out(*legs, *writes); !done) return done;
  const bool is_done = !writes->empty();
  if (line.has("json")) {
    const mirror::LegRecord& now = is_done ? writes->back().record : legs->found.front().record;
    Json json = Json::object();
    json.set("changed", is_done);
    json.set("kept", kept);
    json.set("discarded", std::vector<std::string>(discarded.begin(), discarded.end()));
    json.set("array", now.array.text());
    json.set("generation", fmt::format("{:016x}", now.history.current().id));
    streams.out << written(json);
    return {};
  }
  streams.out << (is_done ? fmt::format("{}: discarded; the mirror copies everything from {}\n",
                                        words_of(discarded), printable(kept, std::string::npos))
                          : fmt::format("{}: nothing to discard: behind {} already\n",
                                        words_of(discarded), printable(kept, std::string::npos)));
  return {};
}

}  // namespace sluice::cli
