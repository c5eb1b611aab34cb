// Mirror: reads, from one leg, and from another if that fails.
#include <algorithm>
#include <cerrno>
#include <tuple>

#include "core/buffer.hpp"
#include "core/extents.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/write_behind.hpp"

namespace sluice::mirror {
namespace {

constexpr size_t kNone = kMostLegs;
constexpr uint64_t kCopyBytes = 256 << 10;  // at once

}  // namespace

// The one place that decides it (T3.1): a leg has a region unless it is stale there, or may not
// have got a write yet.
bool Mirror::is_readable(size_t index, Members now, uint64_t first, uint64_t last) const {
  return (now.readable() & leg_bit(index)) != 0 && !leg(index).stale->has_any(first, last) &&
         !may_lag(index, now);
}

bool Mirror::may_lag(size_t index, Members now) const {
  return (later(now) & leg_bit(index)) != 0 && !behind_->is_empty();
}

// The preferred one, else the one with the fewest reads; a write-mostly one only if there is no
// other. Legs that are equal in that take turns, region by region, for the sake of their own
// read-ahead.
size_t Mirror::choose(uint64_t offset, uint64_t length, LegSet among) const {
  const Regions& regions = intents_->regions();
  const uint64_t first = regions.region_of(offset);
  const uint64_t last = regions.last_of(offset, length);
  const Members now = members();
  LegSet readable = 0;
  LegSet doubtful = 0;
  for (const size_t index : LegsOf(now.readable() & among)) {
    if (!is_readable(index, now, first, last)) continue;
    (leg(index).has_lost ? doubtful : readable) |= leg_bit(index);
  }
  if (readable == 0) readable = doubtful;  // no other has more
  if (options_.prefer && (readable & leg_bit(*options_.prefer)) != 0) return *options_.prefer;
  const LegSet seldom = options_.write_mostly | options_.write_behind;
  if ((readable & ~seldom) != 0) readable &= ~seldom;
  size_t best = kNone;
  uint64_t least = UINT64_MAX;
  for (const size_t index : LegsOf(readable)) {
    const uint64_t turn = (index + first) % legs_.size();
    const uint64_t load = leg(index).reads.load(std::memory_order_relaxed) * kMostLegs + turn;
    if (load >= least) continue;
    least = load;
    best = index;
  }
  return best;
}

bool Mirror::is_unequal(const Request& request) const {
  const Members now = members();
  const Regions& regions = intents_->regions();
  for (const size_t index : LegsOf(now.in_sync())) {
    if (leg(index).stale->has_any(regions.region_of(request.offset),
                                  regions.last_of(request.offset, request.length))) {
      return true;
    }
  }
  return false;
}

Task Mirror::read(Request& request) {
  if (is_unequal(request) && !geometry_.read_only) {
    Task equalising = equalise(request);
    if (const Status equal = co_await equalising; !equal.ok()) co_return equal;
  }
  const size_t index = choose(request.offset, request.length, ~LegSet{0});
  if (index == kNone) {
    Task reading = read_by_regions(request);
    co_return co_await reading;
  }
  Status status;
  {
    const Leg::Reading counted(leg(index));
    ReplaceableChild::Use use(leg(index).child, *request.ring);
    Request part = part_for(request, index);
    Task serving = use->submit(part);
    status = co_await serving;
  }
  const Regions& regions = intents_->regions();
  // One that has left meanwhile may have lost what it had (it was away, say, and asked again).
  const bool is_there = is_readable(index, members(), regions.region_of(request.offset),
                                    regions.last_of(request.offset, request.length));
  if (status.ok() && !is_there) {
    Task reading = read(request);
    co_return co_await reading;
  }
  if (status.ok() && !leg(index).has_lost) co_return kOk;
  Task retrying = read_elsewhere(request, index, status);
  co_return co_await retrying;
}

// ESTALE: the leg has left meanwhile, and may have lost what it had.
Task Mirror::read_from(Request& request, size_t index) {
  const Leg::Reading counted(leg(index));
  ReplaceableChild::Use use(leg(index).child, *request.ring);
  Request part = part_for(request, index);
  Task serving = use->submit(part);
  const Status status = co_await serving;
  const bool has_left = (members().readable() & leg_bit(index)) == 0;
  co_return status.ok() && has_left ? Status::from_errno(ESTALE) : status;
}

// The error of the last leg is the client's.
Task Mirror::read_elsewhere(Request& request, size_t failed, Status status) {
  LegSet tried = leg_bit(failed);
  LegSet gone = status.ok() || is_of_the_medium(status) ? 0 : tried;
  if (!status.ok()) leg(failed).read_errors.fetch_add(1);
  for (size_t index = 0; (index = choose(request.offset, request.length, ~tried)) != kNone;) {
    Task reading = read_from(request, index);
    status = co_await reading;
    tried |= leg_bit(index);
    if (!status.ok()) {
      leg(index).read_errors.fetch_add(1);
      const bool is_out = status.error() == ESTALE;
      if (!is_out && !is_of_the_medium(status)) gone |= leg_bit(index);
      continue;
    }
    if (gone != 0) {
      for (const size_t each : LegsOf(gone)) leg(each).may_return = true;
      Task leaving = membership_.let_go(request, gone, leg_bit(index));
      std::ignore = co_await leaving;
    }
    for (const size_t bad : LegsOf(tried & ~gone & ~leg_bit(index))) {
      if (leg(bad).has_lost) continue;
      Task repairing = repair(request, bad);
      std::ignore = co_await repairing;
    }
    co_return kOk;
  }
  if (status.error() != ESTALE) co_return status;
  Task reading = read(request);  // the one that is left may only have failed once
  co_return co_await reading;
}

// No leg has all of the range: each region has one that has it.
Task Mirror::read_by_regions(Request& request) {
  const Regions& regions = intents_->regions();
  const Members now = members();
  if ((now.in_sync() | now.fenced()) == 0 ||
      regions.region_of(request.offset) == regions.last_of(request.offset, request.length)) {
    co_return Status::from_errno(EIO);
  }
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t place = request.offset + done;
    const uint64_t region_end = regions.begin_of(regions.region_of(place) + 1);
    const uint64_t bytes = std::min(request.length - done, region_end - place);
    Request part = request.child(place, bytes);
    part.data = request.data.slice(static_cast<uint32_t>(done), static_cast<uint32_t>(bytes),
                                   *request.arena);
    Task reading = read(part);
    if (const Status status = co_await reading; !status.ok()) co_return status;
    done += bytes;
  }
  co_return kOk;
}

// Writes what the others have to a leg that could not read it, or has it leave. Not where the leg
// is stale anyway (T3.13).
Task Mirror::repair(Request& request, size_t index) {
  if (geometry_.read_only || members().fenced() != 0) co_return kOk;
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::exclusive);
  co_await hold;
  const Regions& regions = intents_->regions();
  const uint64_t last = regions.last_of(request.offset, request.length);
  if (!is_readable(index, members(), regions.region_of(request.offset), last)) co_return kOk;
  const Buffer buffer(std::min(request.length, kCopyBytes));
  for (uint64_t done = 0; done < request.length; done += kCopyBytes) {
    const uint64_t bytes = std::min(request.length - done, kCopyBytes);
    Request part = request.child(request.offset + done, bytes);
    Task copying = copy(part, leg_bit(index), buffer.bytes().first(bytes));
    if (const Status copied = co_await copying; !copied.ok()) co_return copied;
  }
  leg(index).repairs.fetch_add(1);
  log().info("{}: leg {} ({}) was repaired at byte {}, {} bytes", name(), number_of(index),
             leg(index).label, request.offset, request.length);
  co_return kOk;
}

// Where legs in sync may differ, after a crash or a write that no leg has done: what a client is to
// see is put on all of them first, so that it stays whichever of them fails.
Task Mirror::equalise(Request& request) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::exclusive);
  co_await hold;
  const Regions& regions = intents_->regions();
  const Buffer buffer(std::min(request.length, kCopyBytes));
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t place = request.offset + done;
    const uint64_t region = regions.region_of(place);
    const uint64_t bytes =
        std::min({request.length - done, kCopyBytes, regions.begin_of(region + 1) - place});
    LegSet targets = 0;
    for (const size_t index : LegsOf(members().in_sync())) {
      if (leg(index).stale->has(region)) targets |= leg_bit(index);
    }
    if (targets != 0) {
      Request part = request.child(place, bytes);
      Task copying = copy(part, targets, buffer.bytes().first(bytes));
      const Status copied = co_await copying;
      if (copied.error() == ESTALE) continue;  // other legs may be unequal now, or none
      if (!copied.ok()) co_return copied;
    }
    done += bytes;
  }
  co_return kOk;
}

// From another leg to these; those that cannot take it leave. Under the range lock. If no leg that
// has the range can be read, it is taken from one in sync that may differ: no client has seen it
// otherwise, as it would be the same on all of them then. That goes to all legs.
Task Mirror::copy(Request& request, LegSet targets, std::span<std::byte> buffer) {
  Status read = Status::from_errno(EIO);
  LegSet untried = ~LegSet{0};
  while (!read.ok()) {
    size_t source = choose(request.offset, request.length, ~targets & untried);
    if (source == kNone) {
      for (const size_t index : LegsOf(targets & members().in_sync() & untried)) {
        if (!leg(index).has_lost) source = index;
      }
      if (source == kNone) co_return read;
      targets = members().written() & ~leg_bit(source);
    }
    untried &= ~leg_bit(source);
    PrivateLoan loan(Direction::destination, buffer);
    Request part = request.child(request.offset, loan.view());
    part.op = Op::read;
    Task reading = read_from(part, source);
    read = co_await reading;
    if (!read.ok()) leg(source).read_errors.fetch_add(1);
  }
  PrivateLoan loan(Direction::source, buffer);
  Request whole = request.child(request.offset, loan.view());
  whole.op = Op::write;
  Task writing = write_to(whole, targets);
  co_return co_await writing;
}

// What the leg says that would be read.
Task Mirror::do_extents(Request& request, Extents& found) {
  const Regions& regions = intents_->regions();
  const uint64_t end = request.offset + request.length;
  while (found.covered_bytes() < request.length) {
    const uint64_t place = request.offset + found.covered_bytes();
    size_t index = choose(place, end - place, ~LegSet{0});
    uint64_t bytes = end - place;
    if (index == kNone) {
      bytes = std::min(bytes, regions.begin_of(regions.region_of(place) + 1) - place);
      index = choose(place, bytes, ~LegSet{0});
    }
    if (index == kNone) co_return Status::from_errno(EIO);
    ReplaceableChild::Use use(leg(index).child, *request.ring);
    Request part = request.child(place + leg(index).places.data_offset, bytes);
    Extents there(bytes, found.detail());
    Task finding = use->extents(part, there);
    if (const Status status = co_await finding; !status.ok()) co_return status;
    if (!found.add(there) || !there.complete()) co_return kOk;
  }
  co_return kOk;
}

}  // namespace sluice::mirror
