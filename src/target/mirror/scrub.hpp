// Scrub: the job that compares the legs of a mirror, and makes them equal if it is asked to.
#pragma once

#include <atomic>

#include "target/life/jobs.hpp"
#include "target/mirror/copy_buffers.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::mirror {

class Mirror::Scrub final : public Job {
 public:
  explicit Scrub(Mirror& mirror);

  // On the control reactor.
  void note_start(bool repairs);
  void note_end() {
    running_ = false;
    buffers_.end();
  }

  // Any thread.
  bool is_running() const { return running_; }
  uint64_t position() const { return position_; }
  uint64_t mismatches() const { return mismatches_; }

 private:
  static constexpr uint64_t kPieceBytes = 512 << 10;

  Task step(Request& request) override;
  Task compare_piece(Request& request, uint64_t bytes);
  struct Pair {
    PooledBuffer truth;
    PooledBuffer other;
  };
  Task read_piece(Request& request, LegSet legs, size_t first, Pair& pair, uint64_t bytes,
                  LegSet& differ);
  Task read_leg(Request& request, size_t index, PooledBuffer& into, uint64_t bytes);

  Mirror& mirror_;
  CopyBuffers buffers_{kPieceBytes, 2};
  bool repairs_ = false;
  std::atomic<bool> running_ = false;
  std::atomic<uint64_t> position_ = 0;    // in bytes
  std::atomic<uint64_t> mismatches_ = 0;  // pieces in which legs differ
};

}  // namespace sluice::mirror
