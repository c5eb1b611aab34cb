#include "target/mirror/scrub.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

#include "core/log.hpp"
#include "target/control_call.hpp"
#include "target/mirror/write_behind.hpp"

namespace sluice::mirror {

Mirror::Scrub::Scrub(Mirror& mirror) : Job("scrub"), mirror_(mirror) {}

void Mirror::Scrub::note_start(bool repairs) {
  repairs_ = repairs;
  position_ = 0;
  mismatches_ = 0;
  running_ = true;
}

Task Mirror::Scrub::step(Request& request) {
  const uint64_t size = mirror_.geometry_.size_bytes;
  const uint64_t bytes = std::min(size - position_, kPieceBytes);
  if (bytes != 0) {
    Status compared = buffers_.begin(*request.ring);
    if (compared.ok()) {
      Task comparing = compare_piece(request, bytes);
      compared = co_await comparing;
    }
    if (compared.error() == ESTALE) co_return kOk;  // again, without the leg that has left
    if (!compared.ok()) {
      note_end();
      co_return compared;
    }
    position_ += bytes;
  }
  if (position_ < size) co_return kOk;
  note_end();
  log().info("{}: the scrub has ended: {} places in which legs differ{}", mirror_.name(),
             mismatches(), repairs_ && mismatches() != 0 ? "; they were made equal" : "");
  finish();
  co_return kOk;
}

// Legs that are stale there differ for a reason. What differs is read again before it counts.
Task Mirror::Scrub::compare_piece(Request& request, uint64_t bytes) {
  RangeLock::Hold hold(mirror_.ranges_, *request.ring, position_, bytes,
                       RangeLock::Mode::exclusive);
  co_await hold;
  if (mirror_.behind_) {  // from now on all legs have all writes here
    Task draining = mirror_.behind_->drain(request);
    std::ignore = co_await draining;
  }
  const Regions& regions = mirror_.intents_->regions();
  const Members now = mirror_.members();
  LegSet legs = 0;
  for (const size_t index : LegsOf(now.written())) {
    const bool is_stale = mirror_.leg(index).stale->has_any(regions.region_of(position_),
                                                            regions.last_of(position_, bytes));
    if (!is_stale) legs |= leg_bit(index);
  }
  const size_t first = first_of(legs & now.in_sync());
  if (first == kMostLegs) co_return Status::from_errno(EIO);
  Pair pair;
  auto taking_truth = buffers_.take();
  pair.truth = co_await taking_truth;
  auto taking_other = buffers_.take();
  pair.other = co_await taking_other;
  LegSet differ = 0;
  for (int look = 0; look < 2; ++look) {
    Task reading = read_piece(request, legs, first, pair, bytes, differ);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    if (differ == 0) co_return kOk;
  }
  ++mismatches_;
  for (const size_t index : LegsOf(differ)) {
    log().warn("{}: legs {} and {} differ between bytes {} and {}", mirror_.name(),
               mirror_.number_of(first), mirror_.number_of(index), position(),
               position() + bytes - 1);
  }
  if (!repairs_) co_return kOk;
  Request whole =
      request.child(position_, pair.truth.lend(Direction::source, static_cast<uint32_t>(bytes)));
  whole.op = Op::write;
  whole.fua = true;
  Task repairing = mirror_.write_to(whole, differ);
  co_return co_await repairing;
}

// `differ`: the legs that have something else than `first`, or cannot be read.
Task Mirror::Scrub::read_piece(Request& request, LegSet legs, size_t first, Pair& pair,
                               uint64_t bytes, LegSet& differ) {
  differ = 0;
  Task reading_first = read_leg(request, first, pair.truth, bytes);
  if (const Status read = co_await reading_first; !read.ok()) co_return read;
  for (const size_t index : LegsOf(legs & ~leg_bit(first))) {
    Task reading = read_leg(request, index, pair.other, bytes);
    const Status read = co_await reading;
    const bool same = read.ok() && std::ranges::equal(pair.other.bytes().first(bytes),
                                                      pair.truth.bytes().first(bytes));
    if (!same) differ |= leg_bit(index);
  }
  co_return kOk;
}

Task Mirror::Scrub::read_leg(Request& request, size_t index, PooledBuffer& into, uint64_t bytes) {
  Request part =
      request.child(position_, into.lend(Direction::destination, static_cast<uint32_t>(bytes)));
  part.op = Op::read;
  Task reading = mirror_.read_from(part, index);
  const Status read = co_await reading;
  if (!read.ok() && read.error() != ESTALE) {
    mirror_.leg(index).read_errors.fetch_add(1);
    log().warn("{}: leg {} cannot be read at byte {}: {}", mirror_.name(), mirror_.number_of(index),
               position(), std::strerror(read.error()));
  }
  co_return read;
}

// --- The verb

Task Mirror::scrub(Request& request, ControlCall& call) {
  const bool cancels = call.verb.flag("cancel");
  if (cancels && call.verb.flag("repair")) {
    co_return call.fail(EINVAL, "repair and cancel exclude each other: give one of them");
  }
  if (cancels != scrub_->is_running()) {
    co_return call.fail(EBUSY, cancels ? "no scrub is running" : "a scrub is running already");
  }
  Task ending = jobs_->end_some(request, {scrub_.get()});  // its last run is still listed
  std::ignore = co_await ending;
  scrub_->note_end();
  if (!cancels) {
    scrub_->note_start(call.verb.flag("repair"));
    jobs_->start(*scrub_, *request.ring);
    co_return kOk;
  }
  call.answer.set("position_bytes", scrub_->position());
  call.answer.set("mismatches", scrub_->mismatches());
  co_return kOk;
}

}  // namespace sluice::mirror
