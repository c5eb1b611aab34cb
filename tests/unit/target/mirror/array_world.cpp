#include "unit/target/mirror/array_world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "target/mirror/resolve.hpp"
#include "unit/target/mirror/records.hpp"

namespace sluice::mirror::test {

ArrayWorld::ArrayWorld(uint64_t seed, size_t legs) : random_(seed), common_(whole_record()) {
  common_.history = History(Generation{.id = random_()});
  common_.bitmap_since = common_.history.current().id;
  common_.legs.clear();
  for (size_t leg = 0; leg < legs; ++leg) {
    common_.legs.push_back({.leg = uuid_of(static_cast<unsigned>(100 + leg))});
  }
  for (size_t leg = 0; leg < legs; ++leg) {
    disks_.emplace_back().record = common_;
    disks_.back().record.leg = common_.legs[leg].leg;
  }
}

bool ArrayWorld::live(int starts) {
  for (int i = 0; i < starts && failure_.empty(); ++i) {
    try {
      chance(25) ? resolve() : start();
    } catch (const Crash&) {
    }
    in_sync_.clear();
    stale_.clear();
    needs_.clear();
  }
  return failure_.empty();
}

std::vector<size_t> ArrayWorld::some_legs() {
  std::vector<size_t> present;
  for (size_t leg = 0; leg < disks_.size(); ++leg) {
    if (chance(75)) present.push_back(leg);
  }
  return shuffled(present);
}

// `sluice mirror promote`, or `discard`, of which the first leg is kept.
void ArrayWorld::resolve() {
  const std::vector<size_t> present = some_legs();
  if (present.empty()) return;
  const bool promotes = chance(50);
  const Generation next{.id = random_()};
  const auto writes = promotes ? plan_promotion(found(present), {}, next)
                               : plan_discard(found(present), chance(50), next);
  if (!writes || writes->empty()) return;
  apart_ = true;
  ++resolved_;
  for (const LegWrite& write : *writes) {
    step();
    Disk& disk = disks_[present[write.leg]];
    if (write.what == LegWrite::What::all_bits) {
      disk.dirty.set();
      continue;
    }
    disk.record = write.record;
    for (size_t i = 1; i < present.size() && !promotes; ++i) disks_[present[i]].known = {};
  }
}

void ArrayWorld::start() {
  const std::vector<size_t> present = some_legs();
  if (present.empty()) return;
  const bool may_fail = apart_ || present.size() < disks_.size();
  const std::optional<Decision> decision = decide_on(present, may_fail);
  if (!decision || !failure_.empty()) return;
  if (decision->degraded && chance(50)) return;  // the user waits
  apart_ = apart_ || decision->degraded;
  ++started_;
  take_over(*decision, present);
  run();
}

// As a user does: if it is refused, one leg is chosen, and the others are discarded.
std::optional<Decision> ArrayWorld::decide_on(const std::vector<size_t>& present, bool may_fail) {
  Decision decision = decide_with(present, {});
  if (decision.refusal) {
    ++refused_;
    if (!may_fail) fail("refused without need: " + decision.refusal->text);
    if (present.size() < 2 || chance(70)) return std::nullopt;
    apart_ = true;
    std::vector<size_t> discard;
    const size_t chosen = random(present.size());
    for (size_t i = 0; i < present.size(); ++i) {
      if (i != chosen) discard.push_back(i);
    }
    decision = decide_with(present, discard);
    if (decision.refusal) return std::nullopt;
    for (const size_t i : discard) disks_[present[i]].known = {};
  }
  check(decision, present);
  return decision;
}

std::vector<PresentLeg> ArrayWorld::found(const std::vector<size_t>& present) {
  std::vector<PresentLeg> legs;
  for (const size_t leg : present) {
    const auto parsed = parse(encoded(disks_[leg].record), 64 * kMiB);
    if (!parsed) fail(parsed.error().text);
    legs.push_back({.name = fmt::format("leg{}", leg),
                    .record = disks_[leg].record,
                    .leg_bytes = 64 * kMiB,
                    .dirty = disks_[leg].dirty.any()});
  }
  return legs;
}

Decision ArrayWorld::decide_with(const std::vector<size_t>& present,
                                 const std::vector<size_t>& discard) {
  return decide(found(present), discard);
}

void ArrayWorld::check(const Decision& decision, const std::vector<size_t>& present) {
  const size_t winner = present[*decision.winner];
  Regions dirty;  // of the winner's generation
  for (const size_t leg : present) {
    const uint64_t current = disks_[leg].record.history.current().id;
    if (current == disks_[winner].record.history.current().id) dirty |= disks_[leg].dirty;
  }
  for (size_t i = 0; i < present.size(); ++i) {
    const size_t leg = present[i];
    switch (decision.legs[i].role) {
      case Role::winner:
      case Role::equal:
        check_content(leg, winner, {});
        break;
      case Role::equal_but_dirty:
        check_content(leg, winner, dirty);
        break;
      case Role::behind_by_bits:
        ++behind_by_bits_;
        check_content(leg, winner, disks_[leg].dirty | disks_[winner].dirty);
        continue;
      case Role::behind_all:
        ++behind_all_;
        continue;
      default:
        fail("a leg has no role");
    }
    for (const size_t other : present) {
      for (size_t region = 0; region < kRegions; ++region) {
        if (has(disks_[leg].data[region], disks_[other].known[region])) continue;
        fail(fmt::format("leg {} is {} and lacks an acknowledged write that leg {} knows", leg,
                         name_of(decision.legs[i].role), other));
      }
    }
  }
}

void ArrayWorld::check_content(size_t leg, size_t winner, const Regions& copied) {
  for (size_t region = 0; region < kRegions; ++region) {
    if (copied[region] || disks_[leg].data[region] == disks_[winner].data[region]) continue;
    fail(fmt::format("leg {} differs from {} in a region that is not copied", leg, winner));
  }
}

// Makes the running array what the decision says: bits first, then the legs that are in sync, then
// those that are behind.
void ArrayWorld::take_over(const Decision& decision, const std::vector<size_t>& present) {
  in_sync_ = {present[*decision.winner]};
  common_ = disks_[in_sync_.front()].record;
  common_.legs = decision.table;
  Regions dirty;
  for (size_t i = 0; i < present.size(); ++i) {
    const Role role = decision.legs[i].role;
    if (role == Role::equal || role == Role::equal_but_dirty) in_sync_.push_back(present[i]);
    if (role != Role::behind_all) dirty |= disks_[present[i]].dirty;
  }
  for (const size_t leg : shuffled(in_sync_)) {
    add_bits(leg, dirty);
    if (leg != in_sync_.front()) needs_[leg] = dirty;
  }
  is_due_ = decision.new_generation;
  if (is_due_ && chance(50)) begin_generation();
  if (decision.new_generation || chance(50)) publish();
  for (size_t i = 0; i < present.size(); ++i) {
    const Role role = decision.legs[i].role;
    if (role == Role::behind_by_bits || role == Role::behind_all) begin_resync(present[i], role);
  }
}

void ArrayWorld::run() {
  for (size_t left = random(30); left > 0; --left) {
    const size_t what = random(100);
    if (what < 50) {
      write();
    } else if (what < 55) {
      const std::vector<size_t> legs = attached();
      evict({legs[random(legs.size())]});
    } else if (what < 65) {
      attach();
    } else if (what < 70) {
      give_up_on_missing();
    } else {
      resync_step();
    }
    if (!failure_.empty()) return;
  }
}

// T3.8: bits, data, records of failures, the acknowledgement, and only then the bits again.
void ArrayWorld::write() {
  const size_t region = random(kRegions);
  for (const size_t leg : shuffled(attached())) add_bits(leg, Regions().set(region));
  const size_t version = parents_.size();
  parents_.push_back(disks_[in_sync_.front()].data[region]);
  std::vector<size_t> failing;
  for (const size_t leg : shuffled(attached())) {
    step();
    const bool fails = chance(4);
    if (fails) failing.push_back(leg);
    if (fails && chance(50)) continue;
    if (is_in_sync(leg) || !needs_[leg][region]) disks_[leg].data[region] = version;
  }
  if (!failing.empty() || is_due_) evict(failing);
  for (const size_t leg : in_sync_) disks_[leg].known[region] = version;
  if (chance(60)) clear_bits(region);
}

// T3.3: that the legs are out is durable on all others before anything is acknowledged. If the one
// that served dirty regions is out, another serves them: what that one lacked is copied once more.
void ArrayWorld::evict(const std::vector<size_t>& failing) {
  const auto fails = [&](size_t leg) { return std::ranges::count(failing, leg) != 0; };
  if (std::ranges::all_of(in_sync_, fails)) throw Crash{};
  const bool generation = is_due_ || std::ranges::any_of(in_sync_, fails);
  for (const size_t leg : failing) common_.legs[leg].state = LegState::out;
  const size_t source = in_sync_.front();
  std::erase_if(in_sync_, fails);
  std::erase_if(stale_, fails);
  if (in_sync_.front() != source) {
    for (const size_t leg : attached()) needs_[leg] |= needs_[in_sync_.front()];
  }
  if (generation) begin_generation();
  publish();
}

void ArrayWorld::begin_generation() {
  common_.begin_generation({.id = random_()});
  is_due_ = false;
}

// A missing leg comes back.
void ArrayWorld::attach() {
  std::vector<size_t> present = attached();
  if (present.size() == disks_.size()) return;
  size_t leg = 0;
  while (std::ranges::count(present, leg) != 0) ++leg;
  present.push_back(leg);
  const std::optional<Decision> decision = decide_on(present, true);
  if (!decision || !failure_.empty()) return;
  if (!is_in_sync(present[*decision->winner])) {
    if (apart_) throw Crash{};  // the user has discarded the running legs
    return fail("a leg that returns wins over those that serve");
  }
  const Role role = decision->legs.back().role;
  if (role != Role::behind_by_bits && role != Role::behind_all) return fail("nothing to copy");
  for (size_t i = 0; i + 1 < present.size(); ++i) {
    if (decision->legs[i].role == Role::behind_all && is_in_sync(present[i])) throw Crash{};
  }
  if (is_due_) evict({});
  begin_resync(leg, role);
}

// The bits are durable on all legs before the leg takes part in the generation, and its superblock
// says that it is stale before its data changes.
void ArrayWorld::begin_resync(size_t leg, Role role) {
  Regions needed = disks_[in_sync_.front()].dirty | disks_[leg].dirty;
  if (role == Role::behind_all) needed.set();
  for (const size_t other : shuffled(attached())) add_bits(other, needed);
  add_bits(leg, needed);
  needs_[leg] = needed;
  common_.legs[leg].state = LegState::stale;
  write_record(leg);
  stale_.push_back(leg);
  publish();
}

void ArrayWorld::resync_step() {
  for (const size_t leg : attached()) {
    if (leg == in_sync_.front()) continue;
    Regions& needed = needs_[leg];
    for (size_t region = 0; region < kRegions; ++region) {
      if (!needed[region]) continue;
      step();
      disks_[leg].data[region] = disks_[in_sync_.front()].data[region];
      needed.reset(region);
      return;
    }
    if (is_in_sync(leg)) continue;
    return promote(leg);
  }
  for (size_t region = 0; region < kRegions; ++region) clear_bits(region);
}

// The leg itself learns it last: it never calls itself in sync when the others do not, and would go
// on without it.
void ArrayWorld::promote(size_t leg) {
  if (is_due_) evict({});
  common_.legs[leg].state = LegState::in_sync;
  if (stale_.size() == 1 && !any_missing()) common_.bitmap_since = common_.history.current().id;
  for (const size_t other : shuffled(attached())) {
    if (other != leg) write_record(other);
  }
  write_record(leg);
  std::erase(stale_, leg);
  in_sync_.push_back(leg);
  disks_[leg].known = disks_[in_sync_.front()].known;
}

// Bits of differences to missing legs are dropped: these are copied as a whole later. One that went
// while it was stale has the current generation, so that the bitmap must begin with the next.
void ArrayWorld::give_up_on_missing() {
  if (!any_missing() || !stale_.empty() || chance(50)) return;
  begin_generation();
  common_.bitmap_since = common_.history.current().id;
  publish();
  for (size_t region = 0; region < kRegions; ++region) {
    if (std::ranges::any_of(in_sync_, [&](size_t leg) { return needs_[leg][region]; })) continue;
    for (const size_t leg : shuffled(attached())) {
      step();
      disks_[leg].dirty.reset(region);
    }
  }
}

// T3.6: only if all legs are there, and none lacks the region.
void ArrayWorld::clear_bits(size_t region) {
  if (any_missing() || is_due_) return;
  for (const size_t leg : attached()) {
    if (leg != in_sync_.front() && needs_[leg][region]) return;
  }
  for (const size_t leg : shuffled(attached())) {
    step();
    disks_[leg].dirty.reset(region);
  }
}

// The stale legs come last: with a new generation, but without a leg in sync, they could not go on.
void ArrayWorld::publish() {
  for (const size_t leg : shuffled(in_sync_)) write_record(leg);
  for (const size_t leg : shuffled(stale_)) write_record(leg);
}

void ArrayWorld::write_record(size_t leg) {
  step();
  disks_[leg].record = common_;
  disks_[leg].record.leg = uuid_of(static_cast<unsigned>(100 + leg));
}

void ArrayWorld::add_bits(size_t leg, const Regions& bits) {
  step();
  disks_[leg].dirty |= bits;
}

void ArrayWorld::step() {
  if (random(150) == 0) throw Crash{};
}

void ArrayWorld::fail(const std::string& what) {
  if (failure_.empty()) failure_ = what;
}

std::vector<size_t> ArrayWorld::shuffled(std::vector<size_t> legs) {
  std::ranges::shuffle(legs, random_);
  return legs;
}

std::vector<size_t> ArrayWorld::attached() const {
  std::vector<size_t> legs = in_sync_;
  legs.insert(legs.end(), stale_.begin(), stale_.end());
  return legs;
}

bool ArrayWorld::is_in_sync(size_t leg) const { return std::ranges::count(in_sync_, leg) != 0; }

bool ArrayWorld::any_missing() const { return attached().size() < disks_.size(); }

// Whether the content is this version, or was made from it.
bool ArrayWorld::has(size_t content, size_t version) const {
  while (content > version) content = parents_[content];
  return content == version;
}

}  // namespace sluice::mirror::test
