// ReaderCount: how many tags of a queue read from /dev/fuse at a time, at least.
//
// Reads that find a request share one system call, so that several at a time are worth it while
// requests wait. While none waits, each request wakes all reads, and one read is the fastest. The
// kernel does not say how many requests wait. Therefore the count is doubled now and then, and
// halved again if a system call does not bring enough requests; a count that has failed is tried
// again later, each time after twice as long.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::fuse {

class ReaderCount {
 public:
  static constexpr uint32_t kSampleRounds = 64;
  static constexpr uint32_t kPauseMax = 256;  // samples

  // 1 or more.
  void set_max(uint32_t max) { max_ = max; }
  // A request has come. `round`: the system call that brought it.
  void count(uint64_t round) {
    ++requests_;
    if (round == round_) return;
    round_ = round;
    if (++rounds_ > kSampleRounds) judge();
  }
  uint32_t wanted() const { return wanted_; }

 private:
  void judge() {
    // The request that was counted last belongs to the next sample.
    const bool is_idle = wanted_ > 1 && 8 * (requests_ - 1) < 5 * kSampleRounds * wanted_;
    requests_ = rounds_ = 1;
    if (is_idle) {
      wanted_ /= 2;
      pause_ = std::min(2 * pause_, kPauseMax);
      left_ = pause_;
      return;
    }
    if (wanted_ > 1) pause_ = 1;
    if (left_ != 0) --left_;
    if (left_ == 0 && 2 * wanted_ <= max_) wanted_ *= 2;
  }

  uint32_t max_ = 1;
  uint32_t wanted_ = 1;
  uint32_t requests_ = 0;  // of this sample
  uint32_t rounds_ = 0;    // likewise, those that brought requests
  uint64_t round_ = 0;     // the last of them
  uint32_t pause_ = 1;     // samples between two tries
  uint32_t left_ = 0;      // of the pause
};

}  // namespace sluice::fuse
