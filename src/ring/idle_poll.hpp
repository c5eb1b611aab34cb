// IdlePoll: how long a ring looks for completions before its thread sleeps.
//
// A thread that sleeps is woken some microseconds late, which at depth 1 is a good part of each
// request. So a ring whose waits are short looks for a while first, up to a limit: longer after a
// wait that would have been short enough, not at all after one that was longer than the limit. As
// in QEMU (poll-max-ns), an idle ring therefore never polls. Where processors are scarce, a ring
// that polls may hold up the client it waits for: after polls in vain it stops, each time for twice
// as many waits.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice {

class IdlePoll {
 public:
  static constexpr uint32_t kPauseMax = 4096;  // waits
  static constexpr uint32_t kProof = 64;       // polls with success, after which a pause is short

  // The limit, in any unit of time that the other functions use as well. 0: never polls.
  void set_max(uint64_t max) { max_ = max; }

  bool is_on() const { return max_ != 0; }
  // How long to look this time.
  uint64_t budget() const { return budget_; }

  // A wait has ended. `waited`: from its begin, with the time that it polled.
  void note(uint64_t waited) {
    if (waited <= budget_) {
      if (++successes_ >= kProof) pause_ = 1;
      return;
    }
    successes_ = 0;
    if (waited > max_) {
      if (budget_ != 0) {
        left_ = pause_;
        pause_ = std::min(2 * pause_, kPauseMax);
      }
      budget_ = 0;
      return;
    }
    if (left_ != 0) {
      --left_;
      return;
    }
    budget_ = std::min(std::max(2 * budget_, max_ / 8), max_);
  }

 private:
  uint64_t max_ = 0;
  uint64_t budget_ = 0;
  uint32_t successes_ = 0;  // in a row
  uint32_t pause_ = 1;      // waits after polls in vain
  uint32_t left_ = 0;       // of the pause
};

}  // namespace sluice
