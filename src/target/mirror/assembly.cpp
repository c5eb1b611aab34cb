#include "target/mirror/assembly.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "spec/shown.hpp"

namespace sluice::mirror {
namespace {

constexpr std::string_view kGiveUpOne =
    "give up what one of them has by 'sluice mirror discard', while no server uses them";

// The pessimistic order: of two statements on a leg the later one here holds.
LegState worse(LegState one, LegState other) { return std::max(one, other); }

bool lists(std::span<const size_t> legs, size_t leg) { return std::ranges::count(legs, leg) != 0; }

// One call of decide(). Indices are those of the legs that were passed.
class Assembling {
 public:
  Assembling(std::span<const PresentLeg> legs, std::span<const size_t> discard)
      : legs_(legs), discard_(discard) {
    decision_.legs.resize(legs.size());
  }

  Decision decide() && {
    if (check_members() && find_newest() && find_equals() && check_table() && check_sizes()) {
      assign_roles();
      list_missing();
    }
    if (decision_.refusal) decision_.winner.reset();
    return std::move(decision_);
  }

 private:
  const LegRecord& record(size_t leg) const { return legs_[leg].record; }
  const std::string& name(size_t leg) const { return legs_[leg].name; }
  uint64_t current(size_t leg) const { return record(leg).history.current().id; }
  bool is_discarded(size_t leg) const { return lists(discard_, leg); }
  bool is_equal(size_t leg) const { return lists(equals_, leg); }
  std::optional<size_t> index_of(const Uuid& leg) const;

  bool check_members();
  bool find_newest();
  bool find_equals();
  bool is_accused(size_t leg, std::span<const size_t> candidates) const;
  bool check_table();
  void merge(const LegEntry& entry);
  bool check_sizes();
  void assign_roles();
  void assign_behind(size_t leg, const LegEntry& entry);
  bool may_call_itself_in_sync(const Uuid& leg) const;
  void list_missing();

  // Always false.
  bool refuse(int error, std::string text);
  bool refuse_leg(size_t leg, std::string text);
  bool refuse_diverged(size_t one, size_t other);
  bool refuse_without_candidate();
  std::string describe_past(size_t leg) const;

  const std::span<const PresentLeg> legs_;
  const std::span<const size_t> discard_;
  size_t newest_ = 0;            // a leg of the newest generation
  std::vector<size_t> holders_;  // all of them
  std::vector<size_t> equals_;   // those that are in sync; the winner is the first
  Decision decision_;
};

// Every leg is another one of the same array.
bool Assembling::check_members() {
  if (legs_.empty()) return refuse(EINVAL, "a mirror cannot be assembled without any leg");
  for (const size_t leg : discard_) {
    if (leg >= legs_.size()) return refuse(EINVAL, "there is no such leg to discard");
  }
  for (size_t leg = 1; leg < legs_.size(); ++leg) {
    if (record(leg).array != record(0).array) {
      return refuse_leg(leg, fmt::format("belongs to another array ({} {}) than {} ({} {})",
                                         record(leg).array.text(), shown(record(leg).name), name(0),
                                         record(0).array.text(), shown(record(0).name)));
    }
    const size_t first = *index_of(record(leg).leg);
    if (first != leg) {
      return refuse_leg(leg, fmt::format("is the same leg as {} ({}): one is a copy of the other; "
                                         "leave out the copy",
                                         name(first), record(leg).leg.text()));
    }
  }
  return true;
}

std::optional<size_t> Assembling::index_of(const Uuid& leg) const {
  for (size_t i = 0; i < legs_.size(); ++i) {
    if (record(i).leg == leg) return i;
  }
  return std::nullopt;
}

// The newest generation is the one whose history has the current generations of all others.
bool Assembling::find_newest() {
  std::vector<size_t> contenders;
  for (size_t leg = 0; leg < legs_.size(); ++leg) {
    if (!is_discarded(leg) && record(leg).state() != LegState::spare) contenders.push_back(leg);
  }
  if (contenders.empty()) {
    return refuse(ENODEV, "no leg is left that could have the data: all are spares or discarded");
  }
  newest_ = contenders.front();
  for (const size_t leg : contenders) {
    if (record(leg).history.has(current(newest_))) newest_ = leg;
  }
  for (const size_t leg : contenders) {
    const bool same = current(leg) == current(newest_);
    const bool older = record(newest_).history.has(current(leg));
    // A history that contains its own future is no history.
    const bool newer = record(leg).history.has(current(newest_));
    if (!same && (!older || newer)) return refuse_diverged(newest_, leg);
    if (same) holders_.push_back(leg);
  }
  return true;
}

// In one generation legs only become better: whoever calls a leg out of sync may be out of date,
// but never wrong at the cost of data.
bool Assembling::find_equals() {
  std::vector<size_t> candidates;
  for (const size_t leg : holders_) {
    if (record(leg).state() == LegState::in_sync) candidates.push_back(leg);
  }
  if (candidates.empty()) return refuse_without_candidate();
  for (const size_t leg : candidates) {
    if (!is_accused(leg, candidates)) equals_.push_back(leg);
  }
  if (equals_.empty()) {
    return refuse(EBUSY, fmt::format("{} and {} are of the same generation, and each calls the "
                                     "other out of date; {}",
                                     name(candidates[0]), name(candidates[1]), kGiveUpOne));
  }
  const auto follows = [&](size_t leg) { return record(leg).find(record(leg).leg)->follows; };
  const auto first = std::ranges::find_if_not(equals_, follows);
  decision_.winner = first != equals_.end() ? *first : equals_.front();
  return true;
}

bool Assembling::is_accused(size_t leg, std::span<const size_t> candidates) const {
  return std::ranges::any_of(candidates, [&](size_t other) {
    const LegEntry* const entry = record(other).find(record(leg).leg);
    return entry == nullptr || entry->state != LegState::in_sync;
  });
}

// Merges what the winner and its equals say, and looks whether it has all legs.
bool Assembling::check_table() {
  for (const size_t leg : equals_) {
    for (const LegEntry& entry : record(leg).legs) merge(entry);
  }
  if (decision_.table.size() > kLegsMost) {
    return refuse(EINVAL, fmt::format("the superblocks name {} legs in all, and a mirror has at "
                                      "most {}",
                                      decision_.table.size(), kLegsMost));
  }
  for (size_t leg = 0; leg < legs_.size(); ++leg) {
    if (std::ranges::count(decision_.table, record(leg).leg, &LegEntry::leg) == 0) {
      return refuse_leg(leg, fmt::format("is no leg of the array any more, as {} says; add it to "
                                         "the running array instead",
                                         name(*decision_.winner)));
    }
  }
  return true;
}

void Assembling::merge(const LegEntry& entry) {
  const auto known = std::ranges::find(decision_.table, entry.leg, &LegEntry::leg);
  if (known == decision_.table.end()) {
    decision_.table.push_back(entry);
  } else {
    known->state = worse(known->state, entry.state);
  }
}

bool Assembling::check_sizes() {
  const LegRecord& winner = record(*decision_.winner);
  decision_.data_bytes = winner.data_bytes;
  for (const size_t leg : equals_) {
    decision_.data_bytes = std::min(decision_.data_bytes, record(leg).data_bytes);
  }
  for (size_t leg = 0; leg < legs_.size(); ++leg) {
    const LegRecord& own = record(leg);
    if (own.region_bytes != winner.region_bytes || own.block_bytes != winner.block_bytes) {
      return refuse_leg(leg, fmt::format("has blocks of {} and regions of {} bytes, and {} has "
                                         "blocks of {} and regions of {}",
                                         own.block_bytes, own.region_bytes, name(*decision_.winner),
                                         winner.block_bytes, winner.region_bytes));
    }
    const uint64_t room = own.places.data_room(legs_[leg].leg_bytes);
    if (room < decision_.data_bytes) {
      return refuse_leg(leg, fmt::format("has room for {} bytes of data, and the array has {}",
                                         room, decision_.data_bytes));
    }
  }
  return true;
}

void Assembling::assign_roles() {
  const size_t winner = *decision_.winner;
  const auto is_dirty = [&](size_t leg) { return legs_[leg].dirty; };
  const bool dirty = std::ranges::any_of(holders_, is_dirty);
  for (LegEntry& entry : decision_.table) {
    const std::optional<size_t> leg = index_of(entry.leg);
    if (!leg) continue;
    if (*leg == winner) {
      decision_.legs[*leg] = {Role::winner, "has all data"};
      entry.follows = false;
    } else if (is_equal(*leg) && !dirty) {
      decision_.legs[*leg] = {Role::equal, fmt::format("has the same data as {}", name(winner))};
    } else if (is_equal(*leg)) {
      decision_.legs[*leg] = {Role::equal_but_dirty,
                              fmt::format("has the same data as {} but for regions that were being "
                                          "written",
                                          name(winner))};
    } else {
      assign_behind(*leg, entry);
    }
  }
}

void Assembling::assign_behind(size_t leg, const LegEntry& entry) {
  const LegRecord& winner = record(*decision_.winner);
  Decision::Leg& result = decision_.legs[leg];
  const std::optional<size_t> had = winner.history.position(current(leg));
  if (is_discarded(leg)) {
    result = {Role::behind_all, "is discarded, and copied as a whole"};
  } else if (entry.state == LegState::spare) {
    result = {Role::spare, "is a spare"};
  } else if (record(leg).state() == LegState::spare) {
    result = {Role::behind_all, "was a spare, and is copied as a whole"};
  } else if (!had || *had > *winner.history.position(winner.bitmap_since)) {
    result = {Role::behind_all,
              fmt::format("is of generation {}, which is older than the bitmap: it is copied as a "
                          "whole",
                          record(leg).history.current().text())};
  } else if (*had == 0) {
    result = {Role::behind_by_bits, "is not in sync yet, and lacks the dirty regions"};
  } else {
    result = {Role::behind_by_bits,
              fmt::format("is of generation {}, and lacks what was written since",
                          record(leg).history.current().text())};
  }
}

void Assembling::list_missing() {
  for (LegEntry& entry : decision_.table) {
    const std::optional<size_t> leg = index_of(entry.leg);
    if (leg && is_equal(*leg)) continue;
    if (!leg) decision_.missing.push_back({entry});
    decision_.degraded = decision_.degraded || (!leg && entry.state == LegState::in_sync);
    entry.is_unaware = may_call_itself_in_sync(entry.leg);
    decision_.new_generation =
        decision_.new_generation || entry.is_unaware || (leg && is_discarded(*leg));
    if (entry.state != LegState::spare) entry.state = leg ? LegState::stale : LegState::out;
  }
}

// A leg that could take itself for the winner if it were alone, with the generation that the array
// has now.
bool Assembling::may_call_itself_in_sync(const Uuid& leg) const {
  return std::ranges::any_of(holders_, [&](size_t holder) {
    const LegEntry* const entry = record(holder).find(leg);
    return entry != nullptr && (entry->state == LegState::in_sync || entry->is_unaware);
  });
}

bool Assembling::refuse(int error, std::string text) {
  decision_.refusal = Error{error, std::move(text)};
  return false;
}

bool Assembling::refuse_leg(size_t leg, std::string text) {
  decision_.legs[leg].text = text;
  return refuse(EINVAL, fmt::format("{} {}", name(leg), text));
}

bool Assembling::refuse_diverged(size_t one, size_t other) {
  std::string common = "they have no generation in common";
  for (const Generation& generation : record(one).history.generations()) {
    if (!record(other).history.has(generation.id)) continue;
    common = fmt::format("the last they have in common is {}", generation.text());
    break;
  }
  decision_.legs[one].text = fmt::format("was written apart from {}", name(other));
  decision_.legs[other].text = fmt::format("was written apart from {}", name(one));
  return refuse(EBUSY,
                fmt::format("{} and {} were written apart: {}; {}; {}; {}", name(one), name(other),
                            describe_past(one), describe_past(other), common, kGiveUpOne));
}

// The generations that the other legs do not have.
std::string Assembling::describe_past(size_t leg) const {
  std::vector<std::string> own;
  for (const Generation& generation : record(leg).history.generations()) {
    const bool shared = std::ranges::any_of(legs_, [&](const PresentLeg& other) {
      return &other != &legs_[leg] && other.record.history.has(generation.id);
    });
    if (shared || own.size() == 4) break;
    own.push_back(generation.text());
  }
  if (own.empty()) own.push_back(record(leg).history.current().text());
  const std::string& host = record(leg).owner.host;
  return fmt::format("{} has {}{}", name(leg), fmt::join(own, ", "),
                     host.empty() ? "" : fmt::format(", used last by {}", shown(host)));
}

bool Assembling::refuse_without_candidate() {
  std::vector<std::string> wanted;
  for (const LegEntry& entry : record(newest_).legs) {
    if (entry.state == LegState::in_sync) wanted.push_back(shown(entry.label));
  }
  for (const size_t leg : holders_) {
    decision_.legs[leg].text = fmt::format("is {}", name_of(record(leg).state()));
  }
  const bool others = holders_.size() < legs_.size();
  return refuse(ENODEV,
                fmt::format("no leg with all data is there: {} says that {} has it; bring that one "
                            "back{}",
                            name(newest_), fmt::join(wanted, " or "),
                            others ? fmt::format(", or give up what {} has by 'sluice mirror "
                                                 "discard' to go on with older data",
                                                 name(newest_))
                                   : ""));
}

}  // namespace

std::string_view name_of(Role role) {
  switch (role) {
    case Role::winner:
      return "winner";
    case Role::equal:
      return "equal";
    case Role::equal_but_dirty:
      return "equal but dirty";
    case Role::behind_by_bits:
      return "behind";
    case Role::behind_all:
      return "behind altogether";
    case Role::spare:
      return "spare";
    case Role::refused:
      return "refused";
  }
  return "unknown";
}

Decision decide(std::span<const PresentLeg> legs, std::span<const size_t> discard) {
  return Assembling(legs, discard).decide();
}

Result<size_t> choose_leg(std::span<const std::string> names, std::string_view chosen) {
  if (std::ranges::count(names, chosen) == 1) {
    return static_cast<size_t>(std::ranges::find(names, chosen) - names.begin());
  }
  size_t number = 0;
  const auto [end, error] = std::from_chars(chosen.data(), chosen.data() + chosen.size(), number);
  if (error == std::errc() && end == chosen.data() + chosen.size() && number >= 1 &&
      number <= names.size()) {
    return number - 1;
  }
  return fail(EINVAL, fmt::format("{} is no leg: give a number from 1 to {}, or one of {}",
                                  shown(chosen), names.size(), fmt::join(names, ", ")));
}

}  // namespace sluice::mirror
