// Mirror: the user's commands, on the control reactor.
#include "target/mirror/verbs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/log.hpp"
#include "target/control_call.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/resync.hpp"
#include "target/mirror/scrub.hpp"
#include "target/missing.hpp"
#include "target/registry.hpp"

namespace sluice::mirror {

Task Mirror::control(Request& request, ControlCall& call) {
  if (geometry_.read_only) return call.fail(EROFS, "the mirror is read-only");
  if (members().fenced() != 0) return call.fail(EIO, legs_.why_fenced());
  const std::string& verb = call.verb.target;
  if (verb == kFail) return fail_leg(request, call);
  if (verb == kReadd) return readd(request, call);
  if (verb == kAdd) return add(request, call, {.may_be_new = true, .is_one_more = true});
  if (verb == kSpare) return add(request, call, {.may_be_new = true, .as_spare = true});
  if (verb == kReplace) return replace(request, call);
  if (verb == kRemove) return remove(request, call);
  if (verb == kScrub) return scrub(request, call);
  return change_resync(request, call);
}

// By its number in the spec, from 1, or by its text there.
Status Mirror::find_leg(ControlCall& call, size_t& index) const {
  std::vector<std::string> names;
  std::vector<size_t> slots;
  for (const size_t each : LegsOf(legs_.named())) {
    names.push_back(leg(each).label);
    slots.push_back(each);
  }
  const auto chosen = choose_leg(names, call.verb.text("leg"));
  if (!chosen) return call.fail(chosen.error().error, chosen.error().text);
  index = slots[*chosen];
  if ((taking_ & leg_bit(index)) == 0) return kOk;
  return call.fail(
      EBUSY, fmt::format("leg {} is being taken back at this moment: try again", number_of(index)));
}

Task Mirror::fail_leg(Request& request, ControlCall& call) {
  size_t index = 0;
  if (const Status found = find_leg(call, index); !found.ok()) co_return found;
  const Members now = members();
  if ((now.written() & leg_bit(index)) == 0) {
    const bool is_spare = leg(index).standby != Standby::no;
    co_return call.fail(EINVAL,
                        fmt::format("leg {} {}", number_of(index),
                                    is_spare ? "is a spare: remove it" : "has left already"));
  }
  if (now.in_sync() == leg_bit(index)) {
    co_return call.fail(EBUSY, fmt::format("leg {} is the only one in sync: nothing would be left",
                                           number_of(index)));
  }
  // One of them may be dead, and nobody has noticed yet.
  LegSet good = 0;
  Task asking = membership_.tell_in_sync(request, ~leg_bit(index), good);
  std::ignore = co_await asking;
  if ((good & legs_.sound_of(now.in_sync())) == 0) {
    co_return call.fail(EIO, "no other leg that is in sync can be written: it stays");
  }
  leg(index).may_return = false;
  Task leaving = membership_.let_go(request, leg_bit(index), good);
  const Status left = co_await leaving;
  if (left.ok()) co_return kOk;
  co_return call.fail(left.error(), "no other leg could be told of it");
}

Task Mirror::readd(Request& request, ControlCall& call) {
  size_t index = 0;
  if (const Status found = find_leg(call, index); !found.ok()) co_return found;
  if ((members().written() & leg_bit(index)) != 0) {
    co_return call.fail(EINVAL, fmt::format("leg {} has not left", number_of(index)));
  }
  if (leg(index).is_missing(child(index))) {
    co_return call.fail(
        ENODEV, fmt::format("leg {} is missing: give its spec to the verb add", number_of(index)));
  }
  const Taking taking(taking_, index);
  const bool is_one_more = leg(index).standby != Standby::no;
  Task joining = join(request, call, {.index = index, .is_one_more = is_one_more});
  co_return co_await joining;
}

// Takes the place of the missing leg that it is, or a free one: as long as there is any, not one
// for which there are options.
Task Mirror::add(Request& request, ControlCall& call, Joining joining) {
  const LegSet free = ~(legs_.named() | taking_) & ((LegSet{1} << kMostLegs) - 1);
  const LegSet unset = free & ~options_.named();
  const Spec& spec = call.verb.children.front();
  size_t index = first_of(unset != 0 ? unset : free);
  for (const size_t each : LegsOf(legs_.named() & ~members().written())) {
    const bool is_missing = leg(each).is_missing(child(each));
    if (is_missing && spec_.children[number_of(each) - 1] == spec) index = each;
  }
  if (index >= kMostLegs) {
    co_return call.fail(ENOSPC, fmt::format("a mirror has at most {} legs", kMostLegs));
  }
  joining.index = index;
  const bool is_new = (legs_.named() & leg_bit(index)) == 0;
  const Taking taking(taking_, index);
  if (is_new) leg(index).label = label_of(to_text(spec, target_vocabulary()));
  Task replacing = leg(index).child.replace(request, call, std::move(call.children.front()));
  Status status = co_await replacing;
  if (status.ok()) {
    leg(index).is_unattached = false;
    Task taking_in = join(request, call, std::move(joining));
    status = co_await taking_in;
    if (status.ok() && is_new) {
      status = publish(call, legs_.named() | leg_bit(index), &spec);
      if (!status.ok()) {
        Task leaving = membership_.let_go(request, leg_bit(index), members().in_sync());
        std::ignore = co_await leaving;
        Task forgetting = membership_.forget(request, leg(index).id);
        std::ignore = co_await forgetting;
      }
    }
    if (!status.ok()) {
      std::string why = std::move(call.why);
      Task emptying = empty(request, call, index);
      std::ignore = co_await emptying;
      call.why = std::move(why);
    }
  }
  co_return status;
}

// Without a spec, a spare takes its place.
Task Mirror::replace(Request& request, ControlCall& call) {
  size_t index = 0;
  if (const Status found = find_leg(call, index); !found.ok()) co_return found;
  const Uuid leaving = leg(index).id;
  if (leg(index).standby != Standby::no || leaving.is_zero()) {
    co_return call.fail(
        EINVAL,
        fmt::format("leg {} holds no data that could be replaced: remove it", number_of(index)));
  }
  const auto is_spare = [](const auto& each) { return each->standby == Standby::spare; };
  if (call.children.empty() && std::ranges::none_of(legs_, is_spare)) {
    co_return call.fail(ENOENT, "the mirror has no spare: give the spec of the new leg");
  }
  if (!call.children.empty()) {
    Task adding = add(request, call, {.may_be_new = true});
    if (const Status added = co_await adding; !added.ok()) co_return added;
  }
  Task marking = membership_.mark_leaving(request, leaving);
  if (const Status marked = co_await marking; !marked.ok()) {
    co_return call.fail(marked.error(), "no leg in sync could be told of it");
  }
  co_return kOk;
}

void Mirror::set_legs(Spec& spec, std::string_view option, LegSet legs) const {
  std::string numbers;
  for (const size_t index : LegsOf(legs)) {
    numbers += fmt::format("{}{}", numbers.empty() ? "" : "+", number_of(index));
  }
  if (!numbers.empty()) spec.set(option, numbers);
}

// The legs of `named` are those of the spec from now on; `added` is the spec of the one that is
// new.
Status Mirror::publish(ControlCall& call, LegSet named, const Spec* added) {
  Spec next = spec_;
  next.children.clear();
  for (const size_t index : LegsOf(named)) {
    const bool was_named = (legs_.named() & leg_bit(index)) != 0;
    next.children.push_back(was_named ? spec_.children[number_of(index) - 1] : *added);
  }
  const LegSet before = legs_.named();
  legs_.set_named(named);
  std::erase_if(next.options, [](const auto& each) {
    return each.first == "prefer" || each.first == "write_mostly" || each.first == "write_behind";
  });
  if ((options_.preferred() & named) != 0) next.set("prefer", number_of(*options_.prefer));
  set_legs(next, "write_mostly", options_.write_mostly & named);
  set_legs(next, "write_behind", options_.write_behind & named);
  const Status published = call.publish(next);
  if (published.ok()) {
    spec_ = std::move(next);
  } else {
    legs_.set_named(before);
  }
  return published;
}

// Closes what is in the place.
Task Mirror::empty(Request& request, ControlCall& call, size_t index) {
  Task replacing = leg(index).child.replace(request, call, empty_place());
  const Status replaced = co_await replacing;
  leg(index).superblock.reset();
  leg(index).is_unattached = false;
  co_return replaced;
}

// Its row in the table of legs goes first: nothing is kept for it any more. A leg that the spec
// does not have may be in the table still.
Task Mirror::remove(Request& request, ControlCall& call) {
  size_t index = 0;
  if (const Status found = find_leg(call, index); !found.ok()) {
    if (found.error() != EINVAL) co_return found;
    Task forgetting_absent = remove_absent(request, call);
    co_return co_await forgetting_absent;
  }
  if ((members().written() & leg_bit(index)) != 0) {
    co_return call.fail(EBUSY, fmt::format("leg {} is in use: let it go with the verb fail first",
                                           number_of(index)));
  }
  const Taking taking(taking_, index);
  Task forgetting = forget(request, call, leg(index).id);
  if (const Status forgotten = co_await forgetting; !forgotten.ok()) co_return forgotten;
  leg(index).id = {};
  const LegSet left = legs_.named() & ~leg_bit(index);
  if (const Status published = publish(call, left, nullptr); !published.ok()) co_return published;
  Task emptying = empty(request, call, index);
  co_return co_await emptying;
}

// A leg without a place, by its label or UUID.
Task Mirror::remove_absent(Request& request, ControlCall& call) {
  LegRecord record;
  Task reading = membership_.read_record(request, record);
  std::ignore = co_await reading;
  const std::string text = call.verb.text("leg");
  for (const LegEntry& row : record.legs) {
    if (row.label != text && row.leg.text() != text) continue;
    if (std::ranges::any_of(legs_, [&](const auto& each) { return each->id == row.leg; })) continue;
    call.why.clear();
    Task forgetting = forget(request, call, row.leg);
    co_return co_await forgetting;
  }
  co_return Status::from_errno(EINVAL);
}

Task Mirror::forget(Request& request, ControlCall& call, Uuid leg) {
  Task forgetting = membership_.forget(request, leg);
  const Status forgotten = co_await forgetting;
  if (forgotten.ok()) co_return kOk;
  co_return call.fail(forgotten.error(), "no leg in sync could be told of it");
}

Task Mirror::change_resync(Request& request, ControlCall& call) {
  const Spec& verb = call.verb;
  if (verb.flag("pause") && verb.flag("resume")) {
    co_return call.fail(EINVAL, "pause and resume exclude each other: give one of them");
  }
  const uint64_t least = verb.number("min", resync_->least_rate);
  const uint64_t most = verb.number("max", resync_->most_rate);
  if (most != 0 && most < least) {
    co_return call.fail(
        EINVAL, fmt::format("at most {} bytes a second are less than at least {}", most, least));
  }
  resync_->least_rate = least;
  resync_->most_rate = most;
  if (verb.flag("pause")) resync_->is_paused = true;
  if (verb.flag("resume")) resync_->is_paused = false;
  call.answer.set("paused", bool{resync_->is_paused});
  call.answer.set("min_bytes_per_second", least);
  call.answer.set("max_bytes_per_second", most);
  call.answer.set("left_bytes", resync_->left_bytes());
  Task starting = start_resync(request);
  co_return co_await starting;
}

}  // namespace sluice::mirror
