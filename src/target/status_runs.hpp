// StatusRuns: what a context of block status says of a range (target/status_contexts.hpp).
//
// A bounded list of runs from the start of the range. It may end before the range does: the caller
// then asks again from that point.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

struct StatusRun {
  uint64_t length = 0;  // bytes
  uint32_t flags = 0;   // their meaning is the context's
};

class StatusRuns {
 public:
  static constexpr size_t kMax = 64;

  // For a range of this length.
  explicit StatusRuns(uint64_t range_bytes) : range_bytes_(range_bytes) {}

  // Appends a run: merges it with the last one if they are alike, and cuts it at the end of the
  // range. False: the list is full, and the run was left out.
  bool add(uint64_t length, uint32_t flags) {
    length = std::min(length, range_bytes_ - covered_);
    if (length == 0) return true;
    if (count_ == 0 || list_[count_ - 1].flags != flags) {
      if (count_ == kMax) return false;
      list_[count_++] = {.length = 0, .flags = flags};
    }
    list_[count_ - 1].length += length;
    covered_ += length;
    return true;
  }

  std::span<const StatusRun> list() const { return std::span(list_).first(count_); }
  uint64_t range_bytes() const { return range_bytes_; }
  uint64_t covered_bytes() const { return covered_; }
  bool complete() const { return covered_ == range_bytes_; }

 private:
  uint64_t range_bytes_;
  uint64_t covered_ = 0;
  size_t count_ = 0;
  std::array<StatusRun, kMax> list_;
};

}  // namespace sluice
