// Mirror: what it says of itself.
#include <fmt/format.h>

#include <mutex>

#include "target/mirror/mirror.hpp"
#include "target/mirror/resync.hpp"
#include "target/mirror/scrub.hpp"
#include "target/mirror/write_behind.hpp"

namespace sluice::mirror {
namespace {

HealthNumber gauge(std::string name, uint64_t value) {
  return {.name = std::move(name), .value = value, .kind = HealthNumber::Kind::gauge};
}

}  // namespace

// The numbers may be of different moments.
Health Mirror::health() const {
  const std::scoped_lock guard(observed_);
  Health health;
  health.is_redundant = true;
  if (!intents_ || !resync_) return health;
  const Members now = members();
  const auto note = [&](HealthState state, std::string reason) {
    if (state <= health.state) return;
    health.state = state;
    health.reason = std::move(reason);
  };
  if (now.fenced() != 0) note(HealthState::failed, legs_.why_fenced());
  if (now.in_sync() == 0) note(HealthState::failed, "no leg is in sync");
  uint64_t spares = 0;
  for (const size_t index : LegsOf(legs_.named())) {
    const std::string name = fmt::format("leg {} ({})", number_of(index), leg(index).label);
    if (leg(index).standby != Standby::no) {
      if (leg(index).standby == Standby::spare) ++spares;
    } else if ((now.written() & leg_bit(index)) == 0) {
      const bool is_missing = leg(index).is_missing(child(index));
      note(HealthState::degraded, name + (is_missing ? " is missing" : " has left"));
    } else if ((now.behind() & ~legs_.following() & leg_bit(index)) != 0) {
      note(HealthState::degraded, fmt::format("{} is being resynchronised: {} bytes are left{}",
                                              name, resync_->left_bytes(),
                                              resync_->is_paused      ? ", and it is paused"
                                              : resync_->has_failed() ? ", and it has failed"
                                                                      : ""));
    }
  }
  uint64_t read_errors = 0;
  uint64_t write_errors = 0;
  uint64_t repairs = 0;
  for (const auto& each : legs_) {
    read_errors += each->read_errors;
    write_errors += each->write_errors;
    repairs += each->repairs;
  }
  const Regions& regions = intents_->regions();
  health.numbers = {
      gauge("legs_in_sync", static_cast<uint64_t>(std::popcount(now.in_sync()))),
      gauge("legs_behind", static_cast<uint64_t>(std::popcount(now.behind() & ~legs_.following()))),
      gauge("legs_following", static_cast<uint64_t>(std::popcount(legs_.following()))),
      gauge("spares", spares),
      gauge("dirty_bytes", regions.dirty() * regions.region_bytes()),
      gauge("resync_left_bytes", resync_->left_bytes()),
      {.name = "resync_copied_bytes", .value = resync_->copied_bytes()},
      gauge("scrub_position_bytes", scrub_->position()),
      gauge("scrub_mismatches", scrub_->mismatches()),
      {.name = "leg_read_errors", .value = read_errors},
      {.name = "leg_write_errors", .value = write_errors},
      {.name = "leg_repairs", .value = repairs},
  };
  if (behind_) {
    health.numbers.push_back(gauge("write_behind_bytes", behind_->waiting_bytes()));
    health.numbers.push_back(
        {.name = "write_behind_copied_bytes", .value = behind_->copied_bytes()});
    health.numbers.push_back({.name = "write_behind_waits", .value = behind_->waits()});
  }
  return health;
}

}  // namespace sluice::mirror
