// Mirror: start and stop: what the legs say, and what follows from it.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ranges>
#include <tuple>
#include <utility>

#include "core/buffer.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/resync.hpp"
#include "target/mirror/scrub.hpp"
#include "target/mirror/sweep.hpp"
#include "target/mirror/write_behind.hpp"
#include "target/missing.hpp"

namespace sluice::mirror {
namespace {

// The blocks that the bitmaps of all legs have room for.
uint64_t capacity_of(std::span<const PresentLeg> legs) {
  const auto room = [](const PresentLeg& leg) { return leg.record.places.intent_bytes; };
  return std::ranges::min(legs | std::views::transform(room)) / kIntentBlockBytes;
}

constexpr bool is_in_sync(Role role) {
  return role == Role::winner || role == Role::equal || role == Role::equal_but_dirty;
}
constexpr bool is_behind(Role role) {
  return role == Role::behind_by_bits || role == Role::behind_all;
}

}  // namespace

// --- Start

Task Mirror::start(Request& request, LifeCall& call) {
  Task starting = start_children(request, call);
  std::ignore = co_await starting;
  Task assembling = assemble(request, call);
  Status status = co_await assembling;
  if (status.ok()) co_return kOk;
  std::string why = std::move(call.why);
  Task stopping = stop_children(request, call);
  std::ignore = co_await stopping;
  co_return call.fail(status.error(), std::move(why));
}

Task Mirror::assemble(Request& request, LifeCall& call) {
  std::vector<PresentLeg> present;
  std::vector<size_t> index_of;
  std::string unreadable;
  for (size_t index = 0; index < legs_.size(); ++index) {
    if (child(index).missing() != nullptr) continue;
    PresentLeg found;
    found.name = leg(index).label;
    std::string why;
    Task reading = read_leg(request, index, found, why);
    const Status read = co_await reading;
    // A disk that is there, and is broken. What is on it may be read later.
    if (read.error() == EIO) {
      log().warn("{}: {}", name(), why);
      leg(index).may_return = true;
      unreadable = std::move(why);
      continue;
    }
    if (!read.ok()) co_return call.fail(read.error(), why);
    present.push_back(std::move(found));
    index_of.push_back(index);
  }
  if (present.empty()) {
    co_return call.fail(ENODEV, unreadable.empty() ? "none of its legs is there" : unreadable);
  }
  Decision decision = decide(present);
  if (decision.refusal) co_return call.fail(decision.refusal->error, decision.refusal->text);
  const LegRecord& best = present[*decision.winner].record;
  if (decision.degraded && best.find(best.leg)->follows) {
    co_return refuse_degraded(
        decision,
        fmt::format("{} may lack writes that were acknowledged. Give the other leg, or lose these "
                    "by sluice mirror promote",
                    present[*decision.winner].name),
        call);
  }
  if (decision.degraded && !options_.degraded) {
    const Status refused =
        refuse_degraded(decision, "Give it, or start without it by the option degraded", call);
    if (!unreadable.empty()) call.why += "; " + unreadable;
    co_return refused;
  }
  set_geometry(decision);
  if (call.purpose == LifeCall::Purpose::look) co_return kOk;
  Task taking = take_up(request, call, {std::move(decision), std::move(present), index_of});
  co_return co_await taking;
}

Status Mirror::refuse_degraded(const Decision& decision, std::string_view advice,
                               LifeCall& call) const {
  std::string legs;
  for (const Decision::Missing& each : decision.missing) {
    if (each.entry.state != LegState::in_sync) continue;
    legs +=
        fmt::format("{}{} ({})", legs.empty() ? "" : ", ", each.entry.label, each.entry.leg.text());
  }
  return call.fail(ENODEV, fmt::format("a leg that was in sync is missing: {}. {}", legs, advice));
}

// Legs that are missing may come later, and have a cache, or need to see the data as NBD does.
void Mirror::set_geometry(const Decision& decision) {
  Geometry geometry;
  bool is_first = true;
  bool can_zero = true;
  bool must_show = false;
  for (const auto& each : children()) {
    if (each->missing() != nullptr) {
      must_show |= !is_free_place(*each);
      continue;
    }
    geometry = is_first ? each->geometry() : combine(geometry, each->geometry());
    can_zero = can_zero && each->geometry().can_write_zeroes;
    is_first = false;
  }
  geometry.size_bytes = decision.data_bytes;
  geometry.exact_bytes = 0;
  geometry.can_write_zeroes = true;  // on each leg by itself
  geometry.can_discard = can_zero;   // which zeroes it, see write()
  geometry.needs_stable_pages = true;
  geometry.can_prefetch = false;
  // What was acknowledged comes to a leg behind in the order of the flushes between.
  geometry.volatile_cache |= !decision.missing.empty() || options_.write_behind != 0;
  geometry.needs_bytes |= must_show || options_.write_behind != 0;
  geometry_ = geometry;
}

// If the leg has metadata in both places, what is at the beginning is data.
Task Mirror::read_leg(Request& request, size_t index, PresentLeg& found, std::string& why) {
  Target& target = child(index);
  found.leg_bytes = target.geometry().size_bytes;
  Error error;
  for (const Placement placement : {Placement::end, Placement::start}) {
    auto made = Superblock::create(target, superblock_format(placement, found.leg_bytes));
    if (!made) {
      error = std::move(made.error());
      continue;
    }
    Task loading = (*made)->load(request);
    if (const Status loaded = co_await loading; !loaded.ok()) {
      error = (*made)->error();
      continue;
    }
    auto record = parse((*made)->payload(), found.leg_bytes);
    if (!record) {
      error = std::move(record.error());
      continue;
    }
    const bool is_here = record->places.placement == placement &&
                         (placement == Placement::start || record->leg_bytes == found.leg_bytes);
    if (!is_here) continue;
    if (!(*made)->remark().empty()) log().warn("{}: {}", found.name, (*made)->remark());
    found.record = std::move(*record);
    leg(index).superblock = std::move(*made);
    Task looking = read_intents(request, index, found);
    co_return co_await looking;
  }
  why =
      error.error == EIO
          ? fmt::format("leg {} ({}) cannot be read: {}", number_of(index), found.name, error.text)
          : fmt::format("leg {} ({}) is none: {}. Legs are made by sluice mirror create",
                        number_of(index), found.name, error.text);
  co_return Status::from_errno(error.error != 0 ? error.error : EILSEQ);
}

// What cannot be read, or is damaged, may differ (T3.10).
Task Mirror::read_intents(Request& request, size_t index, PresentLeg& found) {
  const LegRecord& record = found.record;
  const IntentLayout layout{record.data_bytes, record.region_bytes};
  std::vector<uint64_t>& words = leg(index).intents;
  words.assign(layout.words(), 0);
  const Buffer buffer(kIntentBlockBytes);
  for (uint64_t block = 0; block < layout.blocks(); ++block) {
    PrivateLoan loan(Direction::destination, buffer.bytes());
    Request part =
        request.child(record.places.intent_offset + block * kIntentBlockBytes, loan.view());
    part.op = Op::read;
    ReplaceableChild::Use use(leg(index).child, *request.ring);
    Task reading = use->submit(part);
    const Status read = co_await reading;
    const auto here = std::span(words).subspan(block * kIntentWords, kIntentWords);
    const bool filled = read.ok() && part.data.loan()->filled_bytes() == kIntentBlockBytes;
    if (filled && decode_intent_block(record.array, block, buffer.bytes(), here)) continue;
    std::ranges::fill(here, ~uint64_t{0});
    log().warn("{}: block {} of the write-intent bitmap cannot be read: its regions are dirty",
               found.name, block);
  }
  found.dirty = count_dirty(words, layout.regions()) != 0;
  co_return kOk;
}

// --- To serve

Task Mirror::take_up(Request& request, LifeCall& call, Assembled found) {
  const Decision& decision = found.decision;
  for (const auto& each : legs_) each->id = {};
  LegRecord record = found.present[*decision.winner].record;
  record.data_bytes = decision.data_bytes;
  record.legs = decision.table;
  record.clean = false;
  has_lost_ = false;
  const IntentLayout layout{record.data_bytes, record.region_bytes};
  {
    const std::scoped_lock guard(observed_);
    intents_ = std::make_unique<Intents>(record.array, layout, capacity_of(found.present));
    resync_ = std::make_unique<Resync>(*this, options_.least_rate, options_.most_rate);
    scrub_ = std::make_unique<Scrub>(*this);
    sweep_ = std::make_unique<Sweep>(*this);
    if (options_.write_behind != 0 && !geometry_.read_only) {
      behind_ = std::make_unique<WriteBehind>(*this, *request.ring, options_.write_behind_most);
    }
  }
  Members members;
  for (size_t i = 0; i < found.present.size(); ++i) {
    const Role role = decision.legs[i].role;
    const size_t index = found.index_of[i];
    Leg& each = leg(index);
    each.id = found.present[i].record.leg;
    each.places = found.present[i].record.places;
    each.leg_bytes = found.present[i].leg_bytes;
    each.stale = std::make_unique<StaleMap>(layout.regions(), intents_->most_regions());
    each.has_lost = false;
    each.may_return = false;
    each.is_unattached = false;
    LegEntry& entry = *record.find(each.id);
    if (is_in_sync(role) && role != Role::winner) {
      entry.follows |= (options_.write_behind & leg_bit(index)) != 0;
    }
    if (is_in_sync(role) && !entry.follows) members = members.with_in_sync(index);
    const bool is_later = is_behind(role) || (is_in_sync(role) && entry.follows);
    if (is_later && !geometry_.read_only) members = members.with_behind(index);
    log().info("{}: leg {} ({}): {}", name(), number_of(index), each.label, decision.legs[i].text);
    entry.label = each.label;
  }
  name_missing(record);
  note_differences(found, members);
  bool begins = decision.new_generation;
  for (const size_t index : LegsOf(members.behind())) {
    LegEntry& entry = *record.find(leg(index).id);
    if (entry.state != LegState::in_sync || leg(index).stale->count() == 0) continue;
    // It has what a disk had at some moment, and is a mixture until all of this is copied.
    entry.state = LegState::stale;
    entry.is_unaware = true;
    entry.follows = false;
    begins = true;
  }
  legs_.set_members(members.settled(!begins));
  membership_.begin(std::move(record), options_.write_behind, geometry_.read_only);
  if (geometry_.read_only) co_return kOk;
  Task recording = record_start(request);
  if (const Status recorded = co_await recording; !recorded.ok()) {
    co_return call.fail(recorded.error(), "no leg that is in sync can be written");
  }
  jobs_ = call.jobs;
  control_ = call.control;
  jobs_->start(*sweep_, *request.ring);
  Task starting = start_resync(request);
  co_return co_await starting;
}

// Of the rows that no leg has, by their texts, and then in their order.
void Mirror::name_missing(const LegRecord& record) {
  const auto is_known = [&](const LegEntry& row) {
    return std::ranges::any_of(legs_, [&](const auto& each) { return each->id == row.leg; });
  };
  for (const bool by_label : {true, false}) {
    for (const size_t index : LegsOf(legs_.named())) {
      if (!leg(index).id.is_zero()) continue;
      for (const LegEntry& row : record.legs) {
        if (is_known(row) || (by_label && row.label != leg(index).label)) continue;
        leg(index).id = row.leg;
        break;
      }
    }
  }
}

// Regions that are dirty on a leg of the newest generation may differ between these; a leg that is
// behind lacks them, and what its own bitmap says. All of them are dirty from now on.
void Mirror::note_differences(Assembled& found, Members members) {
  const uint64_t regions = intents_->regions().count();
  const auto words_of = [&](size_t i) -> std::vector<uint64_t>& {
    return leg(found.index_of[i]).intents;
  };
  std::vector<uint64_t> equal(words_of(*found.decision.winner).size());
  for (size_t i = 0; i < found.present.size(); ++i) {
    if ((members.in_sync() & leg_bit(found.index_of[i])) == 0) continue;
    std::ranges::transform(equal, words_of(i), equal.begin(), std::bit_or());
  }
  for (size_t i = 0; i < found.present.size(); ++i) {
    std::vector<uint64_t>& words = words_of(i);
    words.resize(equal.size());
    std::ranges::transform(equal, words, words.begin(), std::bit_or());
    if (found.decision.legs[i].role == Role::behind_all) std::ranges::fill(words, ~uint64_t{0});
    const bool is_written = (members.written() & leg_bit(found.index_of[i])) != 0;
    for (uint64_t region = 0; is_written && region < regions; ++region) {
      if ((words[region / 64] >> region % 64 & 1) == 0) continue;
      intents_->regions().mark(region);
      intents_->want(region, region);
      if (i != *found.decision.winner) leg(found.index_of[i]).stale->add(region);
    }
    words = {};
  }
}

// First the bitmap of those that are in sync: what others lack must be known there before they say
// that they are of this generation.
Task Mirror::record_start(Request& request) {
  const Members began = members();
  for (const LegSet legs : {began.in_sync(), began.behind()}) {
    LegSet failed = 0;
    for (const size_t index : LegsOf(legs)) {
      Task writing = write_all_intents(request, index);
      if (const Status written = co_await writing; !written.ok()) failed |= leg_bit(index);
    }
    LegSet done = 0;
    Task recording = membership_.record_on(request, legs & ~failed, done);
    std::ignore = co_await recording;
    if (done == legs) continue;
    Task leaving = membership_.let_go(request, legs & ~done, members().in_sync() & ~(legs & ~done));
    if (const Status left = co_await leaving; !left.ok()) co_return left;
  }
  for (uint64_t block = 0; block < intents_->blocks(); ++block) intents_->note_written(block);
  co_return kOk;
}

// If there is anything to copy, and it has not failed.
Task Mirror::start_resync(Request& request) {
  if (resync_->is_running() || !resync_->has_work()) co_return kOk;
  Task ending = jobs_->end_some(request, {resync_.get()});  // its last run is still listed
  std::ignore = co_await ending;
  if (resync_->is_running()) co_return kOk;  // by another caller, meanwhile
  resync_->note_start();
  jobs_->start(*resync_, *request.ring);
  co_return kOk;
}

Task Mirror::write_all_intents(Request& request, size_t index) {
  for (uint64_t block = 0; block < intents_->blocks(); ++block) {
    AsyncMutex::Hold hold(intents_->mutex_of(block), *request.ring);
    co_await hold;
    PrivateLoan loan(Direction::source, intents_->compose(block));
    Request part =
        request.child(leg(index).places.intent_offset + block * kIntentBlockBytes, loan.view());
    part.op = Op::write;
    part.fua = true;
    ReplaceableChild::Use use(leg(index).child, *request.ring);
    Task writing = use->submit(part);
    if (const Status written = co_await writing; !written.ok()) co_return written;
  }
  co_return kOk;
}

// --- Stop

Task Mirror::stop(Request& request, LifeCall& call) {
  if (behind_) {
    Task ending = behind_->end(request);
    std::ignore = co_await ending;
  }
  if (sweep_ && !geometry_.read_only) {
    Task ending = sweep_->end(request);
    std::ignore = co_await ending;
  }
  if (behind_) {  // with the flush of the sweep
    Task ending = behind_->end(request);
    std::ignore = co_await ending;
  }
  {
    const std::scoped_lock guard(observed_);
    if (scrub_) scrub_->note_end();
    if (resync_) resync_->drop_buffers();
    behind_.reset();
    sweep_.reset();
    scrub_.reset();
    resync_.reset();
    intents_.reset();
  }
  legs_.set_members(Members());
  Task stopping = stop_children(request, call);
  co_return co_await stopping;
}

}  // namespace sluice::mirror
