// Sweep: the job that clears the bits of regions which have not been written for a while, and takes
// legs back that have come back, or spares in the place of those that have not.
//
// It runs as long as the mirror is served. A region is cleared once all legs of the array hold the
// same there, durably: while one is missing, nothing is.
#pragma once

#include <array>
#include <chrono>
#include <optional>

#include "target/life/jobs.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::mirror {

class Mirror::Sweep final : public Job {
 public:
  explicit Sweep(Mirror& mirror) : Job("intents"), mirror_(mirror) {}

  // When no request will come: clears all that can be, and says so on the legs.
  Task end(Request& request);

 private:
  Task step(Request& request) override;
  std::chrono::nanoseconds pause_after(std::chrono::nanoseconds step) const override;

  Task let_lost_go(Request& request);
  Task take_back(Request& request);
  Task take_spare(Request& request);
  bool waits_for_a_leg() const;
  bool may_try(size_t index);
  Task try_to_join(Request& request, size_t index);
  Task ask_whether_all_are_written(Request& request, bool& all);
  bool is_stale_anywhere(uint64_t region) const;
  Task clear_rested(Request& request);
  Task drop(Request& request, uint64_t block, std::span<const uint64_t> regions);

  Mirror& mirror_;
  int waited_ = 0;  // sweeps since a resync has failed
  std::array<std::chrono::steady_clock::time_point, kMostLegs> next_return_{};
  std::array<int, kMostLegs> returns_{};                              // of each leg
  std::optional<std::chrono::steady_clock::time_point> lacks_since_;  // legs, of those wanted
};

}  // namespace sluice::mirror
