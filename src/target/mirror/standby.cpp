// Membership: legs that are removed or replaced, and spares.
#include <algorithm>
#include <bit>
#include <tuple>

#include "target/mirror/membership.hpp"

namespace sluice::mirror {
namespace {

bool is_to_retire(const LegEntry& entry) {
  return entry.state == LegState::out || (entry.leaves && entry.state != LegState::spare);
}

}  // namespace

Task Membership::forget(Request& request, Uuid leg) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  if (legs_.members().unsettled()) {
    Task settling = settle(request);
    if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  }
  for (const auto& each : legs_) {
    if (each->id == leg) each->id = {};
  }
  const auto is_it = [&](const LegEntry& row) { return row.leg == leg; };
  if (std::erase_if(record_.legs, is_it) == 0) co_return kOk;
  record_.wanted = std::min(record_.wanted, static_cast<uint32_t>(record_.legs.size()));
  Task beginning = begin_anew(request, legs_.members());
  co_return co_await beginning;
}

// With the mutex: a generation that legs without a place in it do not know, and whose bitmap has
// nothing for them.
Task Membership::begin_anew(Request& request, Members now) {
  legs_.set_members(now.settled(false));
  note_rows();
  begin_generation(now);
  record_.bitmap_since = record_.history.current().id;
  return settle(request);
}

Task Membership::mark_leaving(Request& request, Uuid leg) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  const Members now = legs_.members();
  LegEntry* const entry = record_.find(leg);
  if (entry == nullptr) co_return Status::from_errno(ENOENT);
  entry->leaves = true;
  LegSet done = 0;
  Task recording = record_on(request, now.written(), done);
  std::ignore = co_await recording;
  if ((done & now.in_sync()) != 0) co_return kOk;
  entry->leaves = false;
  co_return Status::from_errno(EIO);
}

// Those that leave are told last, if they can be: until then they are older legs.
Task Membership::retire(Request& request) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  const Members now = legs_.members();
  if (now.unsettled() || read_only_) co_return kOk;
  const LegSet going = leaving();
  const LegSet staying = complete() & ~legs_.lost() & ~going;
  if (!suffices(staying) || std::ranges::none_of(record_.legs, is_to_retire)) co_return kOk;
  LegSet alive = 0;  // one may be dead, and nobody has noticed yet
  Task asking = record_on(request, staying, alive);
  std::ignore = co_await asking;
  if (!suffices(alive)) co_return kOk;
  for (LegEntry& entry : record_.legs) {
    if (is_to_retire(entry)) entry.state = LegState::spare;
  }
  leave_to(going & now.written(), now);
  Task beginning = begin_anew(request, now.without(going));
  if (const Status begun = co_await beginning; !begun.ok()) co_return begun;
  legs_.report(going, "has been replaced");
  LegSet done = 0;
  Task recording = record_on(request, going & now.written(), done);
  co_return co_await recording;
}

Task Membership::ask_how_many_lack(Request& request, size_t& lacking) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  const auto there = std::popcount(legs_.members().written() & ~leaving());
  lacking = record_.wanted - std::min(record_.wanted, static_cast<uint32_t>(there));
  co_return kOk;
}

// Not without one that has all writes at once.
bool Membership::suffices(LegSet legs) const {
  return static_cast<uint32_t>(std::popcount(legs)) >= record_.wanted &&
         (legs & legs_.members().in_sync()) != 0;
}

LegSet Membership::leaving() const {
  LegSet found = 0;
  for (size_t index = 0; index < Legs::size(); ++index) {
    const LegEntry* const entry = record_.find(legs_[index].id);
    if (entry != nullptr && entry->leaves && is_to_retire(*entry)) found |= leg_bit(index);
  }
  return found;
}

// What the rows say of legs that are there.
void Membership::note_rows() {
  LegSet following = 0;
  for (size_t index = 0; index < Legs::size(); ++index) {
    const LegEntry* const entry = record_.find(legs_[index].id);
    const bool is_spare = entry != nullptr && entry->state == LegState::spare;
    legs_[index].standby = !is_spare       ? Standby::no
                           : entry->leaves ? Standby::replaced
                                           : Standby::spare;
    const bool follows = entry != nullptr && entry->follows && entry->state == LegState::in_sync;
    if (follows) following |= leg_bit(index) & legs_.members().behind();
  }
  legs_.set_following(following);
}

}  // namespace sluice::mirror
