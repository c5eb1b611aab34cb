#include "target/mirror/sweep.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "core/log.hpp"
#include "target/control_call.hpp"
#include "target/mirror/resync.hpp"

namespace sluice::mirror {
namespace {

constexpr int kSweepsToRetry = 15;
constexpr int kLaterReturns = 7;  // each twice as late as the one before
constexpr std::chrono::minutes kForgiven{10};

}  // namespace

Task Mirror::Sweep::step(Request& request) {
  if (mirror_.members().fenced() != 0) co_return kOk;
  Task settling = mirror_.membership_.settle_again(request);
  std::ignore = co_await settling;
  Task leaving = let_lost_go(request);
  std::ignore = co_await leaving;
  Task clearing = clear_rested(request);
  std::ignore = co_await clearing;
  Task taking = take_back(request);
  std::ignore = co_await taking;
  Task taking_spare = take_spare(request);
  std::ignore = co_await taking_spare;
  if (mirror_.taking_ == 0) {
    Task retiring = mirror_.membership_.retire(request);
    std::ignore = co_await retiring;
  }
  // What has failed is tried again, but not at once.
  if (mirror_.resync_->has_failed() && ++waited_ < kSweepsToRetry) co_return kOk;
  waited_ = 0;
  Task starting = mirror_.start_resync(request);
  co_return co_await starting;
}

// One that was the last when its flush failed, and is not any more.
Task Mirror::Sweep::let_lost_go(Request& request) {
  const Members now = mirror_.members();
  const LegSet lost = mirror_.legs_.lost() & now.written();
  const LegSet sound = now.in_sync() & ~lost;
  if (lost == 0 || sound == 0) return kOk;
  return mirror_.membership_.let_go(request, lost, sound);
}

// A leg that could not be reached, or has failed, may be right again.
Task Mirror::Sweep::take_back(Request& request) {
  for (const size_t index : LegsOf(mirror_.legs_.named() & ~mirror_.members().written())) {
    const Leg& leg = mirror_.leg(index);
    if (!leg.may_return || leg.standby != Standby::no || !may_try(index)) continue;
    Task joining = try_to_join(request, index);
    std::ignore = co_await joining;
  }
  co_return kOk;
}

// In the place of a leg that is away, or is to leave.
Task Mirror::Sweep::take_spare(Request& request) {
  size_t lacking = 0;
  Task asking = mirror_.membership_.ask_how_many_lack(request, lacking);
  std::ignore = co_await asking;
  const auto now = std::chrono::steady_clock::now();
  if (lacking == 0) lacks_since_.reset();
  if (lacking != 0 && !lacks_since_) lacks_since_ = now;
  if (lacking == 0 || mirror_.taking_ != 0) co_return kOk;
  if (waits_for_a_leg() && now < *lacks_since_ + mirror_.options_.spare_after) co_return kOk;
  for (const size_t index : LegsOf(mirror_.legs_.named())) {
    if (mirror_.leg(index).standby != Standby::spare || !may_try(index)) continue;
    Task joining = try_to_join(request, index);
    if (const Status joined = co_await joining; joined.ok()) co_return kOk;
  }
  co_return kOk;
}

bool Mirror::Sweep::waits_for_a_leg() const {
  for (const size_t index : LegsOf(mirror_.legs_.named() & ~mirror_.members().written())) {
    const Leg& leg = mirror_.leg(index);
    if (leg.standby != Standby::no) continue;
    if (leg.may_return || leg.is_missing(mirror_.child(index))) return true;
  }
  return false;
}

// One that leaves again and again is given ever more time, and then up: each time is a generation
// in the histories.
bool Mirror::Sweep::may_try(size_t index) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_return_[index] || is_told_to_end()) return false;
  if ((mirror_.taking_ & leg_bit(index)) != 0) return false;
  if (mirror_.leg(index).is_missing(mirror_.child(index))) return false;
  if (now > next_return_[index] + kForgiven) returns_[index] = 0;
  if (returns_[index] > kLaterReturns) return false;
  next_return_[index] = now + mirror_.options_.later_return * (1 << returns_[index]++);
  return true;
}

Task Mirror::Sweep::try_to_join(Request& request, size_t index) {
  const Taking taking(mirror_.taking_, index);
  ControlCall call;
  Task joining = mirror_.join(request, call, {.index = index});
  const Status joined = co_await joining;
  if (!joined.ok()) {
    log().info("{}: leg {} cannot be taken: {}", mirror_.name(), mirror_.number_of(index),
               call.why.empty() ? std::strerror(joined.error()) : call.why);
  }
  co_return joined;
}

// A region is cleared two to four seconds after its last write, as it is likely to be written
// again.
std::chrono::nanoseconds Mirror::Sweep::pause_after(std::chrono::nanoseconds step) const {
  return std::max<std::chrono::nanoseconds>(std::chrono::seconds(2), step);
}

// One that is about to join lacks what is dirty now.
Task Mirror::Sweep::ask_whether_all_are_written(Request& request, bool& all) {
  Task asking = mirror_.membership_.ask_whether_all_are_written(request, all);
  std::ignore = co_await asking;
  all = all && mirror_.taking_ == 0;
  co_return kOk;
}

bool Mirror::Sweep::is_stale_anywhere(uint64_t region) const {
  for (const size_t index : LegsOf(mirror_.members().written())) {
    if (mirror_.leg(index).stale->has(region)) return true;
  }
  return false;
}

// The flush makes durable what was written before it. A leg that cannot do it leaves, and then
// nothing may be cleared.
Task Mirror::Sweep::clear_rested(Request& request) {
  Regions& regions = mirror_.intents_->regions();
  std::vector<uint64_t> rested;
  for (uint64_t region = 0; region < regions.count(); ++region) {
    if (regions.rest(region) && !is_stale_anywhere(region)) rested.push_back(region);
  }
  if (rested.empty()) co_return kOk;
  bool all = false;
  Task asking = ask_whether_all_are_written(request, all);
  std::ignore = co_await asking;
  if (!all) co_return kOk;
  Request flush = request.child(0, uint64_t{0});
  flush.op = Op::flush;
  Task flushing = mirror_.flush(flush);
  if (const Status flushed = co_await flushing; !flushed.ok()) co_return kOk;
  for (const size_t index : LegsOf(mirror_.later(mirror_.members()))) {
    Task flushing_later = mirror_.flush_leg(request, index);
    if (const Status flushed = co_await flushing_later; !flushed.ok()) co_return kOk;
  }
  Task asking_again = ask_whether_all_are_written(request, all);
  std::ignore = co_await asking_again;
  if (!all) co_return kOk;
  for (size_t begin = 0; begin < rested.size();) {
    const uint64_t block = Intents::block_of(rested[begin]);
    size_t end = begin;
    while (end < rested.size() && Intents::block_of(rested[end]) == block) ++end;
    Task dropping = drop(request, block, std::span(rested).subspan(begin, end - begin));
    std::ignore = co_await dropping;
    begin = end;
  }
  co_return kOk;
}

Task Mirror::Sweep::drop(Request& request, uint64_t block, std::span<const uint64_t> regions) {
  AsyncMutex::Hold hold(mirror_.intents_->mutex_of(block), *request.ring);
  co_await hold;
  size_t dropped = 0;
  for (const uint64_t region : regions) {
    if (!is_stale_anywhere(region) && mirror_.intents_->drop(region)) ++dropped;
  }
  if (dropped == 0) co_return kOk;
  Task writing = mirror_.write_intents(request, block);
  co_return co_await writing;
}

Task Mirror::Sweep::end(Request& request) {
  const Members now = mirror_.members();
  if (now.in_sync() == 0 || now.unsettled()) co_return kOk;
  for (int pass = 0; pass < 2; ++pass) {  // the first says that there was no write since
    Task clearing = clear_rested(request);
    std::ignore = co_await clearing;
  }
  for (const size_t index : LegsOf(mirror_.later(mirror_.members()))) {
    Task writing = mirror_.write_all_intents(request, index);
    std::ignore = co_await writing;  // what is dirty there for nothing is copied once more
  }
  const bool is_rested = mirror_.taking_ == 0 && mirror_.intents_->regions().dirty() == 0;
  Task recording = mirror_.membership_.record_end(request, is_rested);
  co_return co_await recording;
}

}  // namespace sluice::mirror
