// Mirror: writes and flushes, to all legs from the same pages.
#include <algorithm>
#include <bit>
#include <tuple>

#include "core/private_loan.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/resync.hpp"
#include "target/mirror/write_behind.hpp"

namespace sluice::mirror {
namespace {

// Its regions are counted as being written.
struct RegionsInUse {
  RegionsInUse(Regions& regions, const Request& request)
      : all(regions),
        first(regions.region_of(request.offset)),
        last(regions.last_of(request.offset, request.length)),
        durable(regions.begin_write(first, last)) {}
  RegionsInUse(const RegionsInUse&) = delete;
  RegionsInUse& operator=(const RegionsInUse&) = delete;
  ~RegionsInUse() { all.end_write(first, last); }

  Regions& all;
  const uint64_t first;
  const uint64_t last;
  const bool durable;
};

}  // namespace

Task Mirror::do_submit(Request& request) {
  resync_->note_request();
  if (request.op == Op::flush) return has_lost_ ? Task(Status::from_errno(EIO)) : flush(request);
  return request.op == Op::read ? read(request) : write(request);
}

Request Mirror::part_for(const Request& request, size_t index) const {
  Request part = request.child(request.offset + leg(index).places.data_offset, request.length);
  part.data = request.data;
  return part;
}

// The legs are looked up after the mark: a leg that joins finds the region dirty, or gets the data.
Task Mirror::write(Request& request) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  const RegionsInUse regions(intents_->regions(), request);
  if (!regions.durable) {
    Task marking = mark(request, regions.first, regions.last);
    if (const Status marked = co_await marking; !marked.ok()) co_return marked;
  }
  const Members began = members();
  const LegSet at_once = began.written() & ~later(began);
  const bool may_be_refused = request.fast_only;
  if (later(began) != 0 && !may_be_refused) {
    Task logging = behind_->append(request);
    if (const Status logged = co_await logging; !logged.ok()) co_return logged;
  }
  LegParts parts(request, std::popcount(at_once));
  for (const size_t index : LegsOf(at_once)) {
    Request part = part_for(request, index);
    // Legs that discard in different ways would differ: all of them read as zeroes afterwards.
    if (request.op == Op::discard) part.op = Op::write_zeroes;
    parts.add(index, leg(index), std::move(part));
  }
  Status status = co_await parts.all();
  if (!status.ok() || began.in_sync() == 0 || members().unsettled()) {
    Task concluding = conclude(request, began, at_once, parts);
    status = co_await concluding;
  }
  if (!status.ok() || later(began) == 0 || !may_be_refused) co_return status;
  Task logging = behind_->append(request);
  co_return co_await logging;
}

// A leg that cannot flush is not read any more from that moment on, before the others have ended.
// Of several flushes at once only one may be told of the failure: it counts for all. If no leg can,
// what was acknowledged may be lost: the client's next flush fails, whoever sent this.
Task Mirror::flush(Request& request) {
  const Members began = members();
  const LegSet at_once = began.written() & ~later(began);
  if (later(began) != 0) {
    Task logging = behind_->append(request);
    std::ignore = co_await logging;
  }
  Gather flushing(request, kMostLegs);
  for (const size_t index : LegsOf(at_once)) flushing.add(flush_leg(request, index));
  const Status first_error = co_await flushing;
  LegSet failed = 0;
  for (const size_t index : LegsOf(at_once)) {
    if (leg(index).has_lost) failed |= leg_bit(index);
  }
  // A leg that has just left was not flushed.
  if (failed == 0 && began.in_sync() != 0 && !members().unsettled()) co_return kOk;
  Task leaving = membership_.let_go(request, failed, began.in_sync() & ~failed);
  const Status left = co_await leaving;
  if (left.ok()) co_return kOk;
  has_lost_ = true;
  co_return first_error.ok() ? left : first_error;
}

Task Mirror::flush_leg(Request& request, size_t index) {
  ReplaceableChild::Use use(leg(index).child, *request.ring);
  Request part = request.child(0, uint64_t{0});
  part.op = Op::flush;
  Task flushing = use->submit(part);
  const Status flushed = co_await flushing;
  if (!flushed.ok()) {
    leg(index).has_lost = true;
    leg(index).may_return = true;
    leg(index).write_errors.fetch_add(1);
  }
  co_return flushed;
}

// A request succeeds if one leg in sync has all of it, and every leg that has not has left durably
// (T3.3, T3.13). If none has it, none leaves: the error is that of the last one.
Task Mirror::conclude(Request& request, Members began, LegSet legs, LegParts& parts) {
  LegSet done = parts.done();
  LegSet failed = legs & ~done;
  LegSet unable = 0;
  for (const size_t index : LegsOf(failed)) {
    const int error = parts.status_of(index).error();
    if (error == EOPNOTSUPP && request.op != Op::write) unable |= leg_bit(index);
  }
  // What one leg cannot do is no fault of it; what no leg can do is the client's business.
  if (failed != 0 && failed == unable && done == 0 && request.fast_only) {
    co_return Status::from_errno(EOPNOTSUPP);  // nothing was changed
  }
  if (unable != 0 && (done != 0 || !request.fast_only)) {
    Task zeroing = zero_by_hand(request, unable, done);
    std::ignore = co_await zeroing;
    failed &= ~done;
  }
  note_write_errors(failed);
  if (request.fua) note_losses(failed, parts);
  Task leaving = membership_.let_go(request, failed, done & began.in_sync());
  const Status left = co_await leaving;
  if (left.ok()) co_return kOk;
  note_unequal(request);
  Status last = Status::from_errno(EIO);
  for (const size_t index : LegsOf(failed & began.in_sync())) last = parts.status_of(index);
  co_return last;
}

// The same data to these legs; those that cannot take it leave.
Task Mirror::write_to(Request& request, LegSet targets) {
  if ((targets & later(members())) != 0) {  // what was written before comes first
    Task draining = behind_->drain(request);
    if (const Status drained = co_await draining; !drained.ok()) co_return drained;
  }
  LegParts parts(request, std::popcount(targets));
  for (const size_t index : LegsOf(targets)) {
    parts.add(index, leg(index), part_for(request, index));
  }
  const Status first_error = co_await parts.all();
  if (first_error.ok()) co_return kOk;
  const LegSet failed = targets & ~parts.done();
  note_write_errors(failed);
  Task leaving = membership_.let_go(request, failed, members().in_sync() & ~failed);
  co_return co_await leaving;
}

void Mirror::note_write_errors(LegSet failed) {
  for (const size_t index : LegsOf(failed)) {
    leg(index).write_errors.fetch_add(1);
    leg(index).may_return = true;
  }
}

// Of durable writes: what has failed may be the flush after them.
void Mirror::note_losses(LegSet failed, const LegParts& parts) {
  for (const size_t index : LegsOf(failed)) {
    if (parts.status_of(index).failed()) leg(index).has_lost = true;
  }
}

Task Mirror::zero_by_hand(Request& request, LegSet legs, LegSet& done) {
  for (const size_t index : LegsOf(legs)) {
    ReplaceableChild::Use use(leg(index).child, *request.ring);
    Request part = part_for(request, index);
    part.op = Op::write_zeroes;
    part.may_unmap = false;
    part.fast_only = false;
    Task zeroing = use->submit(part);
    if (const Status status = co_await zeroing; status.ok()) done |= leg_bit(index);
  }
  co_return kOk;
}

// Some legs have parts of a write that has failed: what one in sync has is copied to all others in
// the background, and is what is read until then.
void Mirror::note_unequal(const Request& request) {
  const Members now = members();
  const Regions& regions = intents_->regions();
  const uint64_t last = regions.last_of(request.offset, request.length);
  for (uint64_t region = regions.region_of(request.offset); region <= last; ++region) {
    size_t truth = kMostLegs;
    for (const size_t index : LegsOf(now.in_sync())) {
      if (truth == kMostLegs && !leg(index).stale->has(region)) truth = index;
    }
    for (const size_t index : LegsOf(now.written())) {
      if (index != truth) leg(index).stale->add(region);
    }
  }
}

// --- The write-intent bitmap

// The regions, of a write that has begun, are durably dirty afterwards (T3.8).
Task Mirror::mark(Request& request, uint64_t first, uint64_t last) {
  intents_->want(first, last);
  for (uint64_t block = Intents::block_of(first); block <= Intents::block_of(last); ++block) {
    const uint64_t from = std::max(first, block * kIntentRegions);
    const uint64_t to = std::min(last, (block + 1) * kIntentRegions - 1);
    AsyncMutex::Hold hold(intents_->mutex_of(block), *request.ring);
    co_await hold;
    if (intents_->are_durable(from, to)) continue;  // with the write before
    intents_->want(from, to);
    Task writing = write_intents(request, block);
    if (const Status written = co_await writing; !written.ok()) co_return written;
  }
  co_return kOk;
}

// With the mutex of the block. The bitmap of a leg that gets writes later has nothing that those of
// the others do not have: it is written at the end.
Task Mirror::write_intents(Request& request, uint64_t block) {
  PrivateLoan loan(Direction::source, intents_->compose(block));
  const Members began = members();
  const LegSet at_once = began.written() & ~later(began);
  LegParts parts(request, std::popcount(at_once));
  for (const size_t index : LegsOf(at_once)) {
    Request part =
        request.child(leg(index).places.intent_offset + block * kIntentBlockBytes, loan.view());
    part.op = Op::write;
    part.fua = true;
    parts.add(index, leg(index), std::move(part));
  }
  const Status first_error = co_await parts.all();
  if (!first_error.ok() || began.in_sync() == 0) {
    const LegSet failed = at_once & ~parts.done();
    note_write_errors(failed);
    note_losses(failed, parts);
    Task leaving = membership_.let_go(request, failed, parts.done() & began.in_sync());
    if (const Status left = co_await leaving; !left.ok()) {
      co_return first_error.ok() ? left : first_error;
    }
  }
  intents_->note_written(block);
  co_return kOk;
}

}  // namespace sluice::mirror
