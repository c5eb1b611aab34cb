// Mirror: growth. Control path, and its part on the control reactor.
//
// First the legs grow, which nobody sees. Then the regions that are new are durably dirty, then all
// superblocks say the new size, and only then may clients use it (T3.11): after a crash in between,
// the array has the old size, or the new one and legs that are made equal there.
#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "spec/size.hpp"
#include "target/life/control_reactor.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/resync.hpp"

namespace sluice::mirror {

Result<uint64_t> Mirror::do_resize(std::optional<uint64_t> wanted) {
  if (wanted && *wanted == geometry_.size_bytes) return *wanted;
  if (auto may = check_may_grow(); !may) return std::unexpected(may.error());
  auto size = grow_legs(wanted);
  if (!size || *size <= geometry_.size_bytes) return size;
  if (auto fits = check_bitmaps(*size); !fits) return std::unexpected(fits.error());
  const Status grown = control_->perform_or_leave(
      [this, bytes = *size](Request& request) { return grow(request, bytes); },
      ControlReactor::Clock::now() + StackLife::kTimeout);
  if (grown.ok()) return size;
  return fail(grown.error(), fmt::format("the mirror cannot grow to {} bytes: {}", *size,
                                         std::generic_category().message(grown.error())));
}

// The size of a leg that is away is not known.
Result<void> Mirror::check_may_grow() const {
  if (geometry_.read_only || control_ == nullptr) {
    return fail(EROFS, "the mirror is read-only: add it for writing to change its size");
  }
  for (const size_t index : LegsOf(legs_.named())) {
    const Leg& each = leg(index);
    const bool is_there = (members().written() & leg_bit(index)) != 0;
    if (!is_there && each.standby == Standby::no) {
      return fail(EBUSY, fmt::format("leg {} ({}) is away, and the mirror is as large as the "
                                     "smallest leg: bring it back, or remove it",
                                     number_of(index), each.label));
    }
    if (is_there && each.places.placement == Placement::end) {
      return fail(EOPNOTSUPP,
                  fmt::format("leg {} ({}) has its metadata at its end, which would be lost as the "
                              "leg grows: replace it by a leg with metadata at the start",
                              number_of(index), each.label));
    }
  }
  return {};
}

// The size that the mirror can have then. A leg that is large enough stays as it is.
Result<uint64_t> Mirror::grow_legs(std::optional<uint64_t> wanted) {
  uint64_t room = UINT64_MAX;
  for (const size_t index : LegsOf(legs_.named())) {
    const Leg& each = leg(index);
    Target& target = child(index);
    const uint64_t offset = each.places.data_offset;
    uint64_t bytes = target.geometry().size_bytes;
    if (!wanted || bytes < offset + *wanted) {
      auto grown = target.resize(wanted ? std::optional(offset + *wanted) : std::nullopt);
      if (!grown) {
        return fail(grown.error().error, fmt::format("leg {} ({}): {}", number_of(index),
                                                     each.label, grown.error().text));
      }
      bytes = *grown;
    }
    room = std::min(room, each.places.data_room(bytes));
  }
  return wanted.value_or(room - room % geometry_.logical_block_bytes);
}

Result<void> Mirror::check_bitmaps(uint64_t size_bytes) const {
  const uint64_t region = intents_->regions().region_bytes();
  uint64_t blocks = intents_->most_regions() / kIntentRegions;
  for (const size_t index : LegsOf(members().written())) {
    blocks = std::min(blocks, leg(index).places.intent_bytes / kIntentBlockBytes);
  }
  const uint64_t most = blocks * kIntentRegions * region;
  if (size_bytes <= most) return {};
  return fail(EFBIG, fmt::format("the write-intent bitmaps of the legs have room for {} in regions "
                                 "of {}: make a new mirror with larger regions",
                                 describe_size(most), format_size(region)));
}

// With all requests that write held off. What the legs have in the new part may differ: one of them
// is what the others are made equal to.
Task Mirror::grow(Request& request, uint64_t size_bytes) {
  RangeLock::Hold all(ranges_, *request.ring, 0, UINT64_MAX / 2, RangeLock::Mode::exclusive);
  co_await all;
  const uint64_t before = geometry_.size_bytes;
  // A file has its new size durably before the superblock in it relies on that.
  for (const size_t index : LegsOf(legs_.named())) {
    leg(index).leg_bytes = child(index).geometry().size_bytes;
    Task flushing = flush_leg(request, index);
    if (const Status flushed = co_await flushing; !flushed.ok()) co_return flushed;
  }
  set_data_bytes(size_bytes);
  Regions& regions = intents_->regions();
  const uint64_t first = regions.region_of(before);
  const uint64_t last = regions.region_of(size_bytes - 1);
  for (uint64_t region = first; region <= last; ++region) regions.mark(region);
  note_unequal(request.child(before, size_bytes - before));
  Task marking = mark(request, first, last);
  Status status = co_await marking;
  if (status.ok()) {
    Task telling = membership_.grow(request, size_bytes);
    status = co_await telling;
  }
  if (!status.ok()) {
    set_data_bytes(before);
    co_return status;
  }
  Task starting = start_resync(request);
  co_return co_await starting;
}

void Mirror::set_data_bytes(uint64_t size_bytes) {
  intents_->set_size(size_bytes);
  for (const auto& each : legs_) {
    if (each->stale) each->stale->set_regions(intents_->regions().count());
  }
}

}  // namespace sluice::mirror
