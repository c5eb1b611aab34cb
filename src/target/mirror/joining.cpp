// Mirror: a leg that comes back, or a new one. On the control reactor.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>
#include <utility>

#include "core/buffer.hpp"
#include "core/log.hpp"
#include "target/control_call.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/resync.hpp"

namespace sluice::mirror {

// What is in the place is a leg that is behind from now on. What it holds is never read before the
// others have given it what it lacks.
Task Mirror::join(Request& request, ControlCall& call, Joining joining) {
  const size_t index = joining.index;
  joining.found.name = leg(index).label;
  Task looking = look_at_leg(request, call, joining);
  if (const Status looked = co_await looking; !looked.ok()) co_return looked;
  leg(index).places = joining.places;
  if (joining.as_spare) {
    Task writing = write_all_intents(request, index);
    std::ignore = co_await writing;  // what cannot be written now, the superblock cannot either
    Task taking = take_in(request, call, joining);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
    legs_.report(leg_bit(index), "has joined, as a spare");
    call.answer.set("leg", uint64_t{number_of(index)});
    co_return kOk;
  }
  {
    RangeLock::Hold all(ranges_, *request.ring, 0, geometry_.size_bytes,
                        RangeLock::Mode::exclusive);
    co_await all;
    note_lacking(joining);
    Task telling = tell_others(request, index);
    if (const Status told = co_await telling; !told.ok()) {
      co_return call.fail(told.error(), "no leg in sync could be told what the new one lacks");
    }
    Task taking = take_in(request, call, joining);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  }
  legs_.report(leg_bit(index), "has joined, and is being resynchronised");
  call.answer.set("leg", uint64_t{number_of(index)});
  call.answer.set("copies_bytes", resync_->left_bytes());
  Task starting = start_resync(request);
  co_return co_await starting;
}

Task Mirror::take_in(Request& request, ControlCall& call, const Joining& joining) {
  Task taking = membership_.take_in(request, joining);
  const Status taken = co_await taking;
  if (taken.ok()) co_return kOk;
  co_return call.fail(taken.error(),
                      fmt::format("{} cannot be written: {}", leg(joining.index).label,
                                  std::strerror(taken.error())));
}

Task Mirror::look_at_leg(Request& request, ControlCall& call, Joining& joining) {
  const size_t index = joining.index;
  Task asking = membership_.read_record(request, joining.array);
  std::ignore = co_await asking;
  std::string why;
  Task reading = read_leg(request, index, joining.found, why);
  const Status read = co_await reading;
  const Geometry& geometry = child(index).geometry();
  if (geometry.logical_block_bytes > geometry_.logical_block_bytes) {
    co_return call.fail(EINVAL, fmt::format("{} has blocks of {} bytes, and those of the mirror "
                                            "have {}: choose another leg",
                                            leg(index).label, geometry.logical_block_bytes,
                                            geometry_.logical_block_bytes));
  }
  if (geometry.read_only) {
    co_return call.fail(EROFS, fmt::format("{} is read-only", leg(index).label));
  }
  if (!read.ok() && read.error() != EILSEQ) co_return call.fail(read.error(), why);
  if (read.ok() && joining.found.record.array != joining.array.array) {
    co_return call.fail(
        EEXIST,
        fmt::format("{} belongs to another mirror, {} ({}): if that is to be no more, erase "
                    "it by sluice mirror forget",
                    leg(index).label, joining.found.record.array.text(),
                    joining.found.record.name));
  }
  const LegEntry* const entry = read.ok() ? joining.array.find(joining.found.record.leg) : nullptr;
  if (entry == nullptr && !joining.may_be_new) {
    co_return call.fail(EINVAL, fmt::format("{} is no leg of this mirror any more: remove it, and "
                                            "give it to the verb add, which overwrites it",
                                            leg(index).label));
  }
  if (entry == nullptr) co_return look_at_new(call, joining);
  if (joining.as_spare && entry->state != LegState::spare) {
    co_return call.fail(EEXIST, fmt::format("{} is a leg of this mirror: give it to the verb add",
                                            leg(index).label));
  }
  for (const size_t other : LegsOf(members().written())) {
    if (leg(other).id != entry->leg) continue;
    co_return call.fail(EEXIST, fmt::format("{} is a copy of leg {}, which is in use",
                                            leg(index).label, number_of(other)));
  }
  if (is_taken_over(joining)) {
    Task fencing = membership_.fence(request, joining.found.record);
    std::ignore = co_await fencing;
    co_return call.fail(EIO, legs_.why_fenced());
  }
  co_return look_at_old(call, joining);
}

// This server had taken it, and another one has since, and has written to it. A leg that was
// written apart before is refused, and no reason to stop: the user has started this server
// nevertheless.
bool Mirror::is_taken_over(const Joining& joining) const {
  const LegRecord& found = joining.found.record;
  const auto had_it = [&](const auto& each) { return each->written_as == found.leg; };
  return found.owner.token != joining.array.owner.token && std::ranges::any_of(legs_, had_it) &&
         !joining.array.history.has(found.history.current().id);
}

// A leg of the array: by its history.
Status Mirror::look_at_old(ControlCall& call, Joining& joining) const {
  const size_t source = first_of(members().in_sync());
  if (source == kMostLegs) return call.fail(EIO, "no leg is in sync");
  LegRecord own = joining.array;
  own.leg = leg(source).id;
  own.leg_bytes = leg(source).leg_bytes;
  own.places = leg(source).places;
  const std::array<PresentLeg, 2> both = {
      PresentLeg{.name = leg(source).label, .record = own, .leg_bytes = own.leg_bytes},
      joining.found};
  const Decision decision = decide(both);
  if (decision.refusal) return call.fail(decision.refusal->error, decision.refusal->text);
  if (decision.winner != 0) {
    return call.fail(EBUSY, fmt::format("{} says that it has newer data than the mirror that is "
                                        "served",
                                        joining.found.name));
  }
  joining.lacks_all = decision.legs[1].role != Role::behind_by_bits;
  joining.places = joining.found.record.places;
  joining.id = joining.found.record.leg;
  return check_room(call, joining);
}

// Whatever it holds is overwritten.
Status Mirror::look_at_new(ControlCall& call, Joining& joining) {
  const size_t like = first_of(members().in_sync());
  if (like == kMostLegs) return call.fail(EIO, "no leg is in sync");
  joining.is_new = true;
  joining.lacks_all = true;
  joining.found.leg_bytes = child(joining.index).geometry().size_bytes;
  const auto places = place_leg({.placement = leg(like).places.placement,
                                 .leg_bytes = joining.found.leg_bytes,
                                 .data_bytes = geometry_.size_bytes,
                                 .region_bytes = joining.array.region_bytes});
  if (!places) return call.fail(places.error().error, places.error().text);
  joining.places = *places;
  joining.id = Uuid::random();
  auto superblock = Superblock::create(
      child(joining.index), superblock_format(places->placement, joining.found.leg_bytes));
  if (!superblock) return call.fail(superblock.error().error, superblock.error().text);
  leg(joining.index).superblock = std::move(*superblock);
  return check_room(call, joining);
}

Status Mirror::check_room(ControlCall& call, const Joining& joining) const {
  const uint64_t room = joining.places.data_room(joining.found.leg_bytes);
  if (room >= geometry_.size_bytes) return kOk;
  return call.fail(ENOSPC, fmt::format("{} has room for {} bytes of data, and the mirror has {}: "
                                       "choose a larger leg",
                                       joining.found.name, room, uint64_t{geometry_.size_bytes}));
}

// With no write in flight. What is dirty may have been written while it was away.
void Mirror::note_lacking(const Joining& joining) {
  Leg& each = leg(joining.index);
  Regions& regions = intents_->regions();
  if (!each.stale) {
    each.stale = std::make_unique<StaleMap>(regions.count(), intents_->most_regions());
  }
  each.intents.resize(regions.count() / 64 + 1);
  for (uint64_t region = 0; region < regions.count(); ++region) {
    const bool own = (each.intents[region / 64] >> region % 64 & 1) != 0;
    if (!joining.lacks_all && !own && !regions.is_dirty(region)) continue;
    each.stale->add(region);
    regions.mark(region);
    intents_->want(region, region);
  }
  each.intents = {};
}

// The legs that are written say durably what the new one lacks; then it says so itself.
Task Mirror::tell_others(Request& request, size_t index) {
  for (uint64_t block = 0; block < intents_->blocks(); ++block) {
    AsyncMutex::Hold hold(intents_->mutex_of(block), *request.ring);
    co_await hold;
    Task writing = write_intents(request, block);
    if (const Status written = co_await writing; !written.ok()) co_return written;
  }
  Task writing = write_all_intents(request, index);
  co_return co_await writing;
}

}  // namespace sluice::mirror
