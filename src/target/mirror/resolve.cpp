#include "target/mirror/resolve.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

namespace sluice::mirror {
namespace {

bool is_as_good_as_winner(Role role) {
  return role == Role::winner || role == Role::equal || role == Role::equal_but_dirty;
}

// Has the current generation of `older`, and one that came after it.
bool is_newer(const LegRecord& record, const LegRecord& older) {
  const auto position = record.history.position(older.history.current().id);
  return position.value_or(0) > 0;
}

// As it is on a leg that is to lack everything. What is a spare for the leg that is kept stays one.
LegRecord record_behind(const LegRecord& kept, const PresentLeg& leg) {
  LegRecord record = kept;
  record.leg = leg.record.leg;
  record.leg_bytes = leg.leg_bytes;
  record.places = leg.record.places;
  LegEntry& own = *record.find(record.leg);
  if (own.state != LegState::spare) own.state = LegState::stale;
  return record;
}

Result<void> check_discard(std::span<const PresentLeg> legs, bool newer_too) {
  std::vector<size_t> others(legs.size() - 1);
  std::iota(others.begin(), others.end(), size_t{1});
  if (const Decision decision = decide(legs, others); decision.refusal) {
    return std::unexpected(*decision.refusal);
  }
  const std::string& kept = legs.front().name;
  for (const PresentLeg& leg : legs.subspan(1)) {
    if (newer_too || !is_newer(leg.record, legs.front().record)) continue;
    return fail(EBUSY, fmt::format("{} has newer data than {}: keep that one, or give --force to "
                                   "go on with the older data",
                                   leg.name, kept));
  }
  return {};
}

}  // namespace

Result<std::vector<LegWrite>> plan_promotion(std::span<const PresentLeg> legs, const Owner& owner,
                                             Generation next) {
  const Decision decision = decide(legs);
  if (decision.refusal) return std::unexpected(*decision.refusal);
  if (!decision.degraded) return {};
  std::vector<LegWrite> writes;
  for (size_t i = 0; i < legs.size(); ++i) {
    if (!is_as_good_as_winner(decision.legs[i].role)) {
      return fail(EBUSY, fmt::format("{} {}: promote the others without it, and 'sluice add' "
                                     "brings it up to date",
                                     legs[i].name, decision.legs[i].text));
    }
    LegRecord record = legs[i].record;
    record.legs = decision.table;
    record.data_bytes = decision.data_bytes;
    record.owner = owner;
    record.clean = false;
    record.begin_generation(next);
    writes.push_back({.leg = i, .what = LegWrite::What::superblock, .record = std::move(record)});
  }
  return writes;
}

// The new generation is for legs that are not here. One that had followed a leg which is discarded
// would otherwise seem to have gone on with the data that is kept.
Result<std::vector<LegWrite>> plan_discard(std::span<const PresentLeg> legs, bool newer_too,
                                           Generation next) {
  if (const auto checked = check_discard(legs, newer_too); !checked) {
    return std::unexpected(checked.error());
  }
  if (const Decision as_it_is = decide(legs); !as_it_is.refusal && as_it_is.winner == 0) {
    for (size_t i = 1; i < legs.size(); ++i) {
      if (!is_as_good_as_winner(as_it_is.legs[i].role)) continue;
      return fail(EINVAL, fmt::format("{} {}: there is nothing to discard", legs[i].name,
                                      as_it_is.legs[i].text));
    }
    return {};
  }
  LegRecord kept = legs.front().record;
  kept.clean = false;
  kept.begin_generation(next);
  for (const PresentLeg& leg : legs.subspan(1)) {
    LegEntry& entry = *kept.find(leg.record.leg);
    if (entry.state != LegState::spare) entry.state = LegState::out;
  }
  std::vector<LegWrite> writes;
  for (size_t i = 1; i < legs.size(); ++i) {
    LegRecord record = record_behind(kept, legs[i]);
    if (const std::string fault = fault_of(record, legs[i].leg_bytes); !fault.empty()) {
      return fail(EINVAL, fmt::format("{} cannot be made like {}: its superblock {}", legs[i].name,
                                      legs.front().name, fault));
    }
    writes.push_back({.leg = i, .what = LegWrite::What::all_bits, .record = std::move(record)});
  }
  const size_t marks = writes.size();
  writes.push_back({.leg = 0, .what = LegWrite::What::superblock, .record = std::move(kept)});
  for (size_t i = 0; i < marks; ++i) {
    LegWrite last = writes[i];
    last.what = LegWrite::What::superblock;
    writes.push_back(std::move(last));
  }
  return writes;
}

}  // namespace sluice::mirror
