#include "target/mirror/membership.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/gather.hpp"
#include "spec/shown.hpp"

namespace sluice::mirror {
namespace {

bool counts_as_in_sync(const LegEntry& entry) {
  return entry.state == LegState::in_sync || entry.state == LegState::spare;
}

}  // namespace

void Membership::begin(LegRecord record, LegSet write_behind, bool read_only) {
  record_ = std::move(record);
  if (record_.wanted == 0) record_.wanted = static_cast<uint32_t>(record_.legs_no_spares());
  record_.owner = Owner::of_this_host();
  for (const auto& each : legs_) each->written_as = {};
  told_ = 0;
  write_behind_ = write_behind;
  read_only_ = read_only;
  note_rows();
}

// `failed` legs leave. kOk: one of `good` is in sync afterwards, and all is durable. All legs of
// `good` may have left since they did it. Then it is as if they had not: the client
// gets an error, and nothing is said of the legs that are left (T3.3).
Task Membership::let_go(Request& request, LegSet failed, LegSet good) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  const Members now = legs_.members();
  good &= legs_.sound_of(now.in_sync());
  if (good == 0) co_return Status::from_errno(EIO);
  const LegSet leaving = failed & now.written();
  if (read_only_) {  // only this server does without them
    if (leaving != 0) {
      legs_.set_members(now.without(leaving));
      legs_.report(leaving, "has left");
    }
    co_return kOk;
  }
  if (leaving != 0) {
    const bool counts = (leaving & complete()) != 0;
    if (counts) leave_to(leaving, now);
    legs_.set_members(now.without(leaving).settled(!counts && !now.unsettled()));
    legs_.set_following(legs_.following() & ~leaving);
    legs_.report(leaving, "has left");
  }
  if (!legs_.members().unsettled()) co_return kOk;
  Task settling = settle(request);
  if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  co_return Status::from_errno((good & legs_.members().in_sync()) != 0 ? 0 : EIO);
}

// Where legs in sync may differ, and the one that all others were to be like leaves, the next one
// is what they are to be like.
void Membership::leave_to(LegSet leaving, Members now) {
  const LegSet staying = now.in_sync() & ~leaving;
  if (staying == 0) return;
  StaleMap& next = *legs_[first_of(staying)].stale;
  for (uint64_t region = next.next(0); region != UINT64_MAX; region = next.next(region + 1)) {
    bool has_truth = false;
    for (const size_t index : LegsOf(staying)) has_truth |= !legs_[index].stale->has(region);
    if (has_truth) continue;
    for (const size_t index : LegsOf(now.written() & ~leaving)) legs_[index].stale->add(region);
    next.remove(region);
  }
}

// With the mutex: a new generation on the legs that are left, until it is on one and all the others
// have it as well or have left.
Task Membership::settle(Request& request) {
  while (true) {
    const Members now = legs_.members();
    if (now.in_sync() == 0) co_return Status::from_errno(EIO);
    begin_generation(now);
    LegSet done = 0;
    Task recording = record_on(request, now.in_sync(), done);
    std::ignore = co_await recording;
    if ((done & legs_.sound_of(now.in_sync())) == 0) {
      legs_.report(now.in_sync(), "cannot be told that a leg has left");
      co_return Status::from_errno(EIO);
    }
    // One that is behind never knows of a generation that no leg in sync has: what was written to
    // a leg whose flush has failed at the same time may be lost.
    const bool is_durable = (done & now.in_sync() & ~legs_.lost()) != 0;
    Task recording_behind = record_on(request, is_durable ? now.behind() : 0, done);
    std::ignore = co_await recording_behind;
    const LegSet told = is_durable ? now.written() : now.in_sync();
    const LegSet failed = told & ~done;
    const bool is_settled = (failed & complete()) == 0;
    if (!is_settled) leave_to(failed, now);
    legs_.set_members(now.without(failed).settled(is_settled));
    legs_.set_following(legs_.following() & ~failed);
    if (failed != 0) legs_.report(failed, "has left");
    if (!is_settled) continue;
    told_ = 0;
    co_return kOk;
  }
}

// What could not be written down at a request. Before the first write to legs that are fewer than
// before the start there is nothing to write down.
Task Membership::settle_again(Request& request) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  if (!legs_.members().unsettled() || told_ == 0) co_return kOk;
  Task settling = settle(request);
  co_return co_await settling;
}

// Each set of legs that is left has a generation of its own, however often it takes to write it.
void Membership::begin_generation(Members now) {
  if (told_ == complete()) return;
  told_ = complete();
  record_.begin_generation(Generation::begin_now());
  record_.clean = false;
  for (size_t index = 0; index < legs_.size(); ++index) {
    LegEntry* const entry = record_.find(legs_[index].id);
    if (entry == nullptr || entry->state == LegState::spare) continue;
    const LegSet bit = leg_bit(index);
    entry->state = (complete() & bit) != 0     ? LegState::in_sync
                   : (now.behind() & bit) != 0 ? LegState::stale
                                               : LegState::out;
  }
}

Task Membership::record_on(Request& request, LegSet legs, LegSet& done) {
  std::vector<size_t> order;
  Gather writing(request, legs_.size());
  for (const size_t index : LegsOf(legs)) {
    order.push_back(index);
    writing.add(write_record(request, index));
  }
  std::ignore = co_await writing;
  for (size_t i = 0; i < order.size(); ++i) {
    if (writing.status(i).ok()) done |= leg_bit(order[i]);
  }
  co_return kOk;
}

// Writes the record, as it is, to the legs in sync of `among`.
Task Membership::tell_in_sync(Request& request, LegSet among, LegSet& done) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  Task recording = record_on(request, legs_.members().in_sync() & among, done);
  co_return co_await recording;
}

// The record as it is on one leg.
Buffer Membership::payload_for(size_t index) const {
  LegRecord record = record_;
  record.leg = legs_[index].id;
  record.leg_bytes = legs_[index].leg_bytes;
  record.places = legs_[index].places;
  Buffer payload(kRecordBytes);
  encode(record, payload.bytes());
  return payload;
}

// The child is kept while it is written. What has failed may be the flush after the write: whoever
// asked for it, the leg leaves then, at the latest by the sweep.
Task Membership::write_record(Request& request, size_t index) {
  const Buffer payload = payload_for(index);
  legs_[index].written_as = legs_[index].id;
  ReplaceableChild::Use use(legs_[index].child, *request.ring);
  Task writing = legs_[index].superblock->write(request, payload.bytes());
  const Status written = co_await writing;
  if (written.failed()) legs_[index].has_lost = true;
  co_return written;
}

// On a leg that had none.
Task Membership::format_record(Request& request, size_t index) {
  const Buffer payload = payload_for(index);
  legs_[index].written_as = legs_[index].id;
  ReplaceableChild::Use use(legs_[index].child, *request.ring);
  Task writing = legs_[index].superblock->format(request, payload.bytes());
  co_return co_await writing;
}

// `legs` hold all that the others do, if nothing has happened to them since. On the control
// reactor. The others say so first. One that alone said so would seem to have all data at the next
// start, though the others had gone on without it.
Task Membership::promote(Request& request, LegSet legs) {
  LegSet failed = 0;
  {
    AsyncMutex::Hold hold(mutex_, *request.ring);
    co_await hold;
    if (legs_.members().unsettled()) {
      Task settling = settle(request);
      if (const Status settled = co_await settling; !settled.ok()) co_return settled;
    }
    const Members now = legs_.members();
    for (const size_t index : LegsOf(legs)) {
      if (legs_[index].stale->count() != 0) legs &= ~leg_bit(index);
    }
    legs &= now.behind() & ~(legs_.following() & write_behind_);
    if (legs == 0) co_return kOk;
    const LegRecord before = record_;
    for (const size_t index : LegsOf(legs)) {
      LegEntry& entry = *record_.find(legs_[index].id);
      entry.state = LegState::in_sync;
      entry.follows = (write_behind_ & leg_bit(index)) != 0;
    }
    if (std::ranges::all_of(record_.legs, counts_as_in_sync)) {
      record_.bitmap_since = record_.history.current().id;
    }
    LegSet done = 0;
    Task recording = record_on(request, now.written() & ~legs, done);
    std::ignore = co_await recording;
    failed = now.written() & ~legs & ~done;
    if (failed != 0) {
      record_ = before;
    } else {
      // From now on they leave like all that are in sync.
      Members next = now;
      for (const size_t index : LegsOf(legs & ~write_behind_)) next = next.with_in_sync(index);
      legs_.set_members(next);
      note_rows();
      legs_.report(legs, "is in sync");
      Task recording_own = record_on(request, legs, done);
      std::ignore = co_await recording_own;
      failed = legs & ~done;
    }
  }
  if (failed == 0) co_return kOk;
  Task leaving = let_go(request, failed, legs_.members().in_sync() & ~failed);
  co_return co_await leaving;
}

// A new disk gets the row of the leg in whose place it is. A leg may have moved to another place.
Task Membership::take_in(Request& request, const Joining& joining) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  if (legs_.members().unsettled()) {
    Task settling = settle(request);
    if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  }
  const LegRecord before = record_;
  const Members now = legs_.members();
  // Its superblock, which the new leg would rely on, may be lost as well.
  if ((now.in_sync() & ~legs_.lost()) == 0) co_return Status::from_errno(EIO);
  const size_t index = joining.index;
  const Uuid former = legs_[index].id;
  if (joining.is_new) {
    std::erase_if(record_.legs, [&](const LegEntry& each) { return each.leg == former; });
    if (record_.legs.size() == kLegsMost) {
      record_ = before;
      co_return Status::from_errno(ENOSPC);
    }
    record_.legs.push_back({.leg = joining.id});
  }
  LegEntry& entry = *record_.find(joining.id);
  entry.state = joining.as_spare ? LegState::spare : LegState::stale;
  entry.label = legs_[index].label;
  entry.leaves = false;
  entry.follows = false;
  if (joining.is_one_more) {
    const auto stay = std::ranges::count_if(record_.legs, [](const LegEntry& each) {
      return each.state != LegState::spare && !each.leaves;
    });
    record_.wanted = std::max(record_.wanted, static_cast<uint32_t>(stay));
  }
  legs_[index].id = joining.id;
  legs_[index].leg_bytes = joining.found.leg_bytes;
  // It first: a row of a leg that is none would be missed at the next start.
  Task own = joining.is_new ? format_record(request, index) : write_record(request, index);
  Status status = co_await own;
  if (status.ok()) {
    LegSet done = 0;
    Task recording = record_on(request, now.written(), done);
    std::ignore = co_await recording;
    if ((done & now.in_sync()) == 0) status = Status::from_errno(EIO);
  }
  if (!status.ok()) {
    record_ = before;
    legs_[index].id = former;
    co_return status;
  }
  for (const auto& other : legs_) {
    if (other.get() != &legs_[index] && other->id == joining.id) other->id = {};
  }
  legs_[index].may_return = false;
  legs_[index].has_lost = false;
  note_rows();
  if (!joining.as_spare) legs_.set_members(now.with_behind(index));
  co_return kOk;
}

// With the mutex: nobody changes the members meanwhile, and nobody does afterwards, as no leg is in
// sync. Writes in flight had begun before.
Task Membership::fence(Request& request, const LegRecord& found) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  if (legs_.members().fenced() != 0) co_return kOk;
  const LegEntry* const entry = record_.find(found.leg);
  legs_.fence(fmt::format(
      "fenced: leg {} was taken over by {} (owner {}) and written apart, so that nothing is "
      "written here any more: remove the device, and give up what one side has by 'sluice mirror "
      "discard'",
      entry == nullptr ? found.leg.text() : entry->label, shown(found.owner.host),
      found.owner.token.text()));
  co_return kOk;
}

Task Membership::read_record(Request& request, LegRecord& record) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  record = record_;
  co_return kOk;
}

bool Membership::all_are_written() const {
  const Members now = legs_.members();
  // A flush after one that has failed says nothing.
  if (now.unsettled() || (legs_.lost() & now.written()) != 0) return false;
  return std::ranges::all_of(record_.legs, [&](const LegEntry& entry) {
    if (entry.state == LegState::spare) return true;
    for (const size_t index : LegsOf(now.written())) {
      if (legs_[index].id == entry.leg) return true;
    }
    return false;
  });
}

Task Membership::ask_whether_all_are_written(Request& request, bool& all) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  all = all_are_written();
  co_return kOk;
}

Task Membership::record_end(Request& request, bool is_rested) {
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  record_.clean = is_rested && all_are_written();
  LegSet done = 0;
  Task recording = record_on(request, legs_.members().written(), done);
  co_return co_await recording;
}

// A leg that could not be told leaves before the new part is used: of legs of the same generation
// the smallest size counts.
Task Membership::grow(Request& request, uint64_t data_bytes) {
  LegSet failed = 0;
  LegSet done = 0;
  uint64_t before = 0;
  {
    AsyncMutex::Hold hold(mutex_, *request.ring);
    co_await hold;
    if (!all_are_written()) co_return Status::from_errno(EBUSY);
    before = std::exchange(record_.data_bytes, data_bytes);
    Task recording = record_on(request, legs_.members().written(), done);
    std::ignore = co_await recording;
    failed = legs_.members().written() & ~done;
  }
  if (failed == 0) co_return kOk;
  Task leaving = let_go(request, failed, done & legs_.members().in_sync());
  const Status left = co_await leaving;
  if (left.ok()) co_return kOk;
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  record_.data_bytes = before;
  co_return left;
}

}  // namespace sluice::mirror
