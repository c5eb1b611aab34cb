#include "reactor/tag.hpp"

#include <cerrno>

#include "core/cycle_clock.hpp"
#include "core/log.hpp"

namespace sluice {

void Tag::set_up(Ring& ring, uint16_t queue, uint16_t number) {
  loan.set_up(ring);
  request.ring = &ring;
  request.arena = &arena;
  request.ready = &ring.ready();
  request.queue = queue;
  request.tag = number;
}

void Tag::lose_sight(QueueCounters& counters) {
  counters.lose_sight();
  in_sight_ = false;
}

void Tag::forget(QueueCounters& counters) {
  counters.lose_sight();
  busy_ = false;
  reset_arena(counters);
}

Status Tag::refuse_unfilled(const Request& lent) const {
  log().critical("a read of {} bytes at {} was reported done with {} bytes filled", lent.length,
                 lent.offset, loan->filled_bytes());
  return Status::from_errno(EIO);
}

void Tag::list_in_flight(std::vector<InFlight>& found) const {
  if (!busy_) return;
  found.push_back(describe(request));
  found.back().queue = request.queue;
  found.back().tag = request.tag;
  found.back().age_cycles = cycles() - begun_;
}

}  // namespace sluice
