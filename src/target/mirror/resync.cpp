#include "target/mirror/resync.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "core/extents.hpp"
#include "core/gather.hpp"
#include "core/log.hpp"
#include "core/step.hpp"

namespace sluice::mirror {
namespace {

using std::chrono::nanoseconds;

constexpr std::chrono::milliseconds kPauseOfPaused{100};

nanoseconds time_of(uint64_t bytes, uint64_t rate) {
  return nanoseconds(static_cast<int64_t>(1e9 * double(bytes) / double(rate)));
}

}  // namespace

Mirror::Resync::Resync(Mirror& mirror, uint64_t least, uint64_t most)
    : Job("resync"), least_rate(least), most_rate(most), mirror_(mirror) {}

bool Mirror::Resync::has_work() const {
  const LegSet complete = mirror_.legs_.following() & mirror_.options_.write_behind;
  return (mirror_.members().behind() & ~complete) != 0 || next_region(0) != kNone;
}

void Mirror::Resync::note_start() {
  running_ = true;
  failed_ = false;
  copying_.clear();
}

uint64_t Mirror::Resync::left_bytes() const {
  uint64_t most = 0;
  for (const size_t index : LegsOf(mirror_.members().written())) {
    most = std::max(most, mirror_.leg(index).stale->count());
  }
  const uint64_t bytes = most * mirror_.intents_->regions().region_bytes();
  return std::min<uint64_t>(bytes, mirror_.geometry_.size_bytes);
}

Task Mirror::Resync::step(Request& request) {
  step_bytes_ = 0;
  was_busy_ = is_busy_.exchange(false);
  if (is_paused) co_return kOk;
  take_regions();
  if (copying_.empty()) {
    Task ending = end_copying(request);
    co_return co_await ending;
  }
  Status copied = buffers_.begin(*request.ring);
  if (copied.ok()) {
    Task copying = copy_some(request);
    copied = co_await copying;
  }
  if (copied.ok()) co_return kOk;
  if (copied.error() == ESTALE) {  // the source has left: again, from another one
    copying_.clear();
    co_return kOk;
  }
  failed_ = true;
  running_ = false;
  buffers_.end();
  log().error("{}: the resynchronisation has ended at byte {}: {}", mirror_.name(),
              copying_.front().position, std::strerror(copied.error()));
  co_return copied;
}

// Behind other requests, but not slower than the least rate (T3.20).
nanoseconds Mirror::Resync::pause_after(nanoseconds step) const {
  if (is_paused) return kPauseOfPaused;
  nanoseconds pause{};
  if (was_busy_) pause = Job::pause_after(step);
  if (was_busy_ && least_rate != 0) {
    pause = std::min(pause, std::max(nanoseconds(0), time_of(step_bytes_, least_rate) - step));
  }
  if (const uint64_t most = most_rate; most != 0) {
    pause = std::max(pause, time_of(step_bytes_, most) - step);
  }
  return pause;
}

uint64_t Mirror::Resync::next_region(uint64_t from) const {
  uint64_t next = kNone;
  for (const size_t index : LegsOf(mirror_.members().written())) {
    next = std::min(next, mirror_.leg(index).stale->next(from));
  }
  return next;
}

uint64_t Mirror::Resync::end_of(uint64_t region) const {
  return std::min(mirror_.intents_->regions().begin_of(region + 1), mirror_.intents_->data_bytes());
}

// As many as have the pieces of a step.
void Mirror::Resync::take_regions() {
  uint64_t bytes = 0;
  for (const Copying& each : copying_) bytes += end_of(each.region) - each.position;
  uint64_t next = next_region(copying_.empty() ? 0 : copying_.back().region + 1);
  while (next != kNone && bytes < kPieces * kPieceBytes && copying_.size() < kPieces) {
    copying_.push_back(begin_region(next));
    bytes += end_of(next) - copying_.back().position;
    next = next_region(next + 1);
  }
}

Mirror::Resync::Copying Mirror::Resync::begin_region(uint64_t region) const {
  Copying begun{.region = region, .position = mirror_.intents_->regions().begin_of(region)};
  for (const size_t index : LegsOf(mirror_.members().written())) {
    const StaleMap& stale = *mirror_.leg(index).stale;
    const uint64_t additions = stale.additions();
    if (!stale.has(region)) continue;
    begun.targets |= leg_bit(index);
    begun.additions[index] = additions;
  }
  return begun;
}

// A leg lacks the region still if it has left in the meantime and come back, or a write to it has
// failed on all legs.
void Mirror::Resync::end_region(const Copying& copied) {
  for (const size_t index : LegsOf(copied.targets & mirror_.members().written())) {
    mirror_.leg(index).stale->remove_unless_added(copied.region, copied.additions[index]);
  }
}

Task Mirror::Resync::copy_some(Request& request) {
  Gather copying(request, kPieces);
  size_t pieces = 0;
  for (Copying& each : copying_) {
    const uint64_t end = end_of(each.region);
    while (pieces < kPieces && each.position < end) {
      const uint64_t bytes = std::min(end - each.position, kPieceBytes);
      copying.add(copy_piece(request, each.position, bytes, each.targets));
      ++pieces;
      each.position += bytes;
      step_bytes_ += bytes;
    }
  }
  if (const Status copied = co_await copying; !copied.ok()) co_return copied;
  copied_bytes_ += step_bytes_;
  sluice::step("some resynchronised");
  std::erase_if(copying_, [this](const Copying& each) {
    const bool is_whole = each.position == end_of(each.region);
    if (is_whole) end_region(each);
    return is_whole;
  });
  co_return kOk;
}

// It holds a buffer for as long as legs take, and these never wait for one of this pool.
Task Mirror::Resync::copy_piece(Request& request, uint64_t offset, uint64_t bytes, LegSet targets) {
  RangeLock::Hold hold(mirror_.ranges_, *request.ring, offset, bytes, RangeLock::Mode::exclusive);
  co_await hold;
  targets &= mirror_.members().written();
  if (targets == 0) co_return kOk;
  auto taking = buffers_.take();
  PooledBuffer buffer = co_await taking;
  const auto length = static_cast<uint32_t>(bytes);
  bool is_zero = false;
  Status status;
  {
    Request reading = request.child(offset, buffer.lend(Direction::destination, length));
    reading.op = Op::read;
    Task read = read_piece(reading, targets, is_zero);
    status = co_await read;
  }
  if (!status.ok()) {
    Request whole = request.child(offset, bytes);
    Task copying = mirror_.copy(whole, targets, buffer.bytes().first(bytes));
    co_return co_await copying;
  }
  Request writing = request.child(offset, buffer.lend(Direction::source, length));
  writing.op = Op::write;
  if (is_zero) {
    writing.op = Op::write_zeroes;
    writing.data = {};
  }
  Task written = mirror_.write_to(writing, targets);
  co_return co_await written;
}

// From a leg that has it, and from another if that fails.
Task Mirror::Resync::read_piece(Request& request, LegSet targets, bool& is_zero) {
  LegSet among = ~targets;
  Status status = Status::from_errno(EIO);
  for (size_t source = 0;
       (source = mirror_.choose(request.offset, request.length, among)) != kMostLegs;) {
    {
      ReplaceableChild::Use use(mirror_.leg(source).child, *request.ring);
      Request part = mirror_.part_for(request, source);
      Extents found(request.length, Detail::content);
      Task finding = use->extents(part, found);
      const Status known = co_await finding;
      is_zero = known.ok() && found.complete() && found.list().size() == 1 && found.list()[0].zero;
      if (is_zero) co_return kOk;
    }
    Task reading = mirror_.read_from(request, source);
    status = co_await reading;
    if (status.ok()) co_return kOk;
    mirror_.leg(source).read_errors.fetch_add(1);
    among &= ~leg_bit(source);
  }
  co_return status;
}

// What was copied is durable before a leg is called in sync. Those that are in sync have it
// already, or as much of it as is left, if a flush of the last one has failed.
Task Mirror::Resync::end_copying(Request& request) {
  const LegSet behind = mirror_.members().behind();
  if (behind != 0) {
    Gather flushing(request, kMostLegs);
    for (const size_t index : LegsOf(behind)) flushing.add(mirror_.flush_leg(request, index));
    std::ignore = co_await flushing;
    if (const LegSet failed = behind & mirror_.legs_.lost(); failed != 0) {
      Task leaving = mirror_.membership_.let_go(request, failed, mirror_.members().in_sync());
      co_return co_await leaving;
    }
    Task promoting = mirror_.membership_.promote(request, behind);
    if (const Status promoted = co_await promoting; !promoted.ok()) co_return promoted;
  }
  if (has_work()) co_return kOk;
  running_ = false;
  buffers_.end();
  finish();
  co_return kOk;
}

}  // namespace sluice::mirror
