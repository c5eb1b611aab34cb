// Resync: the job that copies what a leg lacks from another leg, region by region.
//
// A piece is copied while no write to it is in flight; a write to any other place goes to all legs
// anyway (T3.9). Starts again from what the legs say after a crash.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <vector>

#include "target/life/jobs.hpp"
#include "target/mirror/copy_buffers.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::mirror {

class Mirror::Resync final : public Job {
 public:
  // The rates are bytes a second, see below.
  Resync(Mirror& mirror, uint64_t least, uint64_t most);

  // --- On the control reactor.
  // True if a leg that is written is stale somewhere, or has to be told that it is not any more.
  bool has_work() const;
  bool is_running() const { return running_; }
  void note_start();
  // No step is at work any more, and no other comes.
  void drop_buffers() { buffers_.end(); }

  // Any thread.
  uint64_t left_bytes() const;
  uint64_t copied_bytes() const { return copied_bytes_; }
  bool has_failed() const { return failed_; }
  void note_request() {
    if (!is_busy_.load(std::memory_order_relaxed)) is_busy_.store(true, std::memory_order_relaxed);
  }

  // Bytes a second; 0: no limit. The least is for times of other requests.
  std::atomic<uint64_t> least_rate;
  std::atomic<uint64_t> most_rate;
  std::atomic<bool> is_paused = false;

 private:
  static constexpr uint64_t kPieceBytes = 512 << 10;
  static constexpr size_t kPieces = 8;  // at once
  static constexpr uint64_t kNone = UINT64_MAX;

  Task step(Request& request) override;
  std::chrono::nanoseconds pause_after(std::chrono::nanoseconds step) const override;

  struct Copying {
    uint64_t region = 0;
    uint64_t position = 0;  // in bytes of the array
    LegSet targets = 0;
    std::array<uint64_t, kMostLegs> additions{};  // to each stale map, when it was begun
  };

  uint64_t next_region(uint64_t from) const;
  uint64_t end_of(uint64_t region) const;
  void take_regions();
  Copying begin_region(uint64_t region) const;
  void end_region(const Copying& copied);
  Task copy_some(Request& request);
  Task copy_piece(Request& request, uint64_t offset, uint64_t bytes, LegSet targets);
  Task read_piece(Request& request, LegSet targets, bool& is_zero);
  Task end_copying(Request& request);

  Mirror& mirror_;
  CopyBuffers buffers_{kPieceBytes, kPieces};
  std::vector<Copying> copying_;  // in their order; at most kPieces
  uint64_t step_bytes_ = 0;
  bool running_ = false;
  bool was_busy_ = false;

  std::atomic<uint64_t> copied_bytes_ = 0;
  std::atomic<bool> failed_ = false;
  std::atomic<bool> is_busy_ = false;
};

}  // namespace sluice::mirror
