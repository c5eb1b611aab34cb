// Mirror: legs that leave, and what the others write down of it.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/buffer.hpp"
#include "core/events.hpp"
#include "core/gather.hpp"
#include "core/log.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::mirror {
namespace {

bool counts_as_in_sync(const LegEntry& entry) {
  return entry.state == LegState::in_sync || entry.state == LegState::spare;
}

}  // namespace

// `failed` legs leave. kOk: one of `good` is in sync afterwards, and all is durable. All legs of
// `good` may have left since they did it. Then it is as if they had not: the client
// gets an error, and nothing is said of the legs that are left (T3.3).
Task Mirror::let_go(Request& request, LegSet failed, LegSet good) {
  AsyncMutex::Hold hold(membership_, *request.ring);
  co_await hold;
  const Members now = members();
  good &= sound_among(legs_, now.in_sync());
  if (good == 0) co_return Status::from_errno(EIO);
  const LegSet leaving = failed & now.written();
  if (geometry_.read_only) {  // only this server does without them
    if (leaving != 0) {
      set_members(now.without(leaving));
      report(leaving, "has left");
    }
    co_return kOk;
  }
  if (leaving != 0) {
    const bool counts = (leaving & now.in_sync()) != 0;
    if (counts) leave_to(leaving, now);
    set_members(now.without(leaving).settled(!counts && !now.unsettled()));
    report(leaving, "has left");
  }
  if (!members().unsettled()) co_return kOk;
  Task settling = settle(request);
  if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  co_return Status::from_errno((good & members().in_sync()) != 0 ? 0 : EIO);
}

// Where legs in sync may differ, and the one that all others were to be like leaves, the next one
// is what they are to be like.
void Mirror::leave_to(LegSet leaving, Members now) {
  const LegSet staying = now.in_sync() & ~leaving;
  if (staying == 0) return;
  StaleMap& next = *leg(first_of(staying)).stale;
  for (uint64_t region = next.next(0); region != UINT64_MAX; region = next.next(region + 1)) {
    bool has_truth = false;
    for (const size_t index : LegsOf(staying)) has_truth |= !leg(index).stale->has(region);
    if (has_truth) continue;
    for (const size_t index : LegsOf(now.written() & ~leaving)) leg(index).stale->add(region);
    next.remove(region);
  }
}

// With the mutex: a new generation on the legs that are left, until it is on one and all the others
// have it as well or have left.
Task Mirror::settle(Request& request) {
  while (true) {
    const Members now = members();
    if (now.in_sync() == 0) co_return Status::from_errno(EIO);
    begin_generation(now);
    LegSet done = 0;
    Task recording = record_on(request, now.in_sync(), done);
    std::ignore = co_await recording;
    if ((done & sound_among(legs_, now.in_sync())) == 0) {
      report(now.in_sync(), "cannot be told that a leg has left");
      co_return Status::from_errno(EIO);
    }
    // One that is behind never knows of a generation that no leg in sync has: what was written to
    // a leg whose flush has failed at the same time may be lost.
    const bool is_durable = (done & now.in_sync() & ~lost_among(legs_)) != 0;
    Task recording_behind = record_on(request, is_durable ? now.behind() : 0, done);
    std::ignore = co_await recording_behind;
    const LegSet told = is_durable ? now.written() : now.in_sync();
    const LegSet failed = told & ~done;
    const bool is_settled = (failed & now.in_sync()) == 0;
    if (!is_settled) leave_to(failed, now);
    set_members(now.without(failed).settled(is_settled));
    if (failed != 0) report(failed, "has left");
    if (!is_settled) continue;
    told_ = 0;
    co_return kOk;
  }
}

// What could not be written down at a request. Before the first write to legs that are fewer than
// before the start there is nothing to write down.
Task Mirror::settle_again(Request& request) {
  AsyncMutex::Hold hold(membership_, *request.ring);
  co_await hold;
  if (!members().unsettled() || told_ == 0) co_return kOk;
  Task settling = settle(request);
  co_return co_await settling;
}

// Each set of legs that is left has a generation of its own, however often it takes to write it.
void Mirror::begin_generation(Members now) {
  if (told_ == now.in_sync()) return;
  told_ = now.in_sync();
  record_.begin_generation(Generation::begin_now());
  record_.clean = false;
  for (size_t index = 0; index < legs_.size(); ++index) {
    LegEntry* const entry = record_.find(leg(index).id);
    if (entry == nullptr || entry->state == LegState::spare) continue;
    const LegSet bit = leg_bit(index);
    entry->state = (now.in_sync() & bit) != 0  ? LegState::in_sync
                   : (now.behind() & bit) != 0 ? LegState::stale
                                               : LegState::out;
  }
}

Task Mirror::record_on(Request& request, LegSet legs, LegSet& done) {
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
Task Mirror::tell_in_sync(Request& request, LegSet among, LegSet& done) {
  AsyncMutex::Hold hold(membership_, *request.ring);
  co_await hold;
  Task recording = record_on(request, members().in_sync() & among, done);
  co_return co_await recording;
}

// The record as it is on one leg.
Buffer Mirror::payload_for(size_t index) const {
  LegRecord record = record_;
  record.leg = leg(index).id;
  record.leg_bytes = leg(index).leg_bytes;
  record.places = leg(index).places;
  Buffer payload(kRecordBytes);
  encode(record, payload.bytes());
  return payload;
}

// The child is kept while it is written. What has failed may be the flush after the write: whoever
// asked for it, the leg leaves then, at the latest by the sweep.
Task Mirror::write_record(Request& request, size_t index) {
  const Buffer payload = payload_for(index);
  ReplaceableChild::Use use(leg(index).child, *request.ring);
  Task writing = leg(index).superblock->write(request, payload.bytes());
  const Status written = co_await writing;
  if (written.failed()) leg(index).has_lost = true;
  co_return written;
}

// On a leg that had none.
Task Mirror::format_record(Request& request, size_t index) {
  const Buffer payload = payload_for(index);
  ReplaceableChild::Use use(leg(index).child, *request.ring);
  Task writing = leg(index).superblock->format(request, payload.bytes());
  co_return co_await writing;
}

void Mirror::report(LegSet legs, std::string_view what) const {
  for (const size_t index : LegsOf(legs)) {
    const std::string text =
        fmt::format("leg {} ({}) {}", number_of(index), leg(index).label, what);
    log().warn("{}: {}", name(), text);
    emit({.kind = kHealthChanged, .text = text, .target = name()});
  }
}

// `legs` hold all that the others do, if nothing has happened to them since. On the control
// reactor. The others say so first. One that alone said so would seem to have all data at the next
// start, though the others had gone on without it.
Task Mirror::promote(Request& request, LegSet legs) {
  LegSet failed = 0;
  {
    AsyncMutex::Hold hold(membership_, *request.ring);
    co_await hold;
    if (members().unsettled()) {
      Task settling = settle(request);
      if (const Status settled = co_await settling; !settled.ok()) co_return settled;
    }
    const Members now = members();
    for (const size_t index : LegsOf(legs)) {
      if (leg(index).stale->count() != 0) legs &= ~leg_bit(index);
    }
    legs &= now.behind();
    if (legs == 0) co_return kOk;
    const LegRecord before = record_;
    for (const size_t index : LegsOf(legs)) record_.find(leg(index).id)->state = LegState::in_sync;
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
      for (const size_t index : LegsOf(legs)) next = next.with_in_sync(index);
      set_members(next);
      report(legs, "is in sync");
      Task recording_own = record_on(request, legs, done);
      std::ignore = co_await recording_own;
      failed = legs & ~done;
    }
  }
  if (failed == 0) co_return kOk;
  Task leaving = let_go(request, failed, members().in_sync() & ~failed);
  co_return co_await leaving;
}

}  // namespace sluice::mirror
