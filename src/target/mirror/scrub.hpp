// Scrub: the job that compares the legs of a mirror, and makes them equal if it is asked to.
#pragma once

#include <atomic>
#include <vector>

#include "core/buffer.hpp"
#include "target/life/jobs.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::mirror {

class Mirror::Scrub final : public Job {
 public:
  explicit Scrub(Mirror& mirror);

  // On the control reactor.
  void note_start(bool repairs);
  void note_end() { running_ = false; }

  // Any thread.
  bool is_running() const { return running_; }
  uint64_t position() const { return position_; }
  uint64_t mismatches() const { return mismatches_; }

 private:
  static constexpr uint64_t kPieceBytes = 512 << 10;

  Task step(Request& request) override;
  Task compare_piece(Request& request, uint64_t bytes);
  Task read_piece(Request& request, LegSet legs, size_t first, uint64_t bytes, LegSet& differ);
  Task read_leg(Request& request, size_t index, uint64_t bytes);
  Task repair_piece(Request& request, LegSet legs, size_t first, uint64_t bytes);
  std::span<std::byte> piece_of(size_t leg, uint64_t bytes);

  Mirror& mirror_;
  std::vector<std::unique_ptr<Buffer>> buffers_;  // one for each leg, when it is needed
  bool repairs_ = false;
  std::atomic<bool> running_ = false;
  std::atomic<uint64_t> position_ = 0;    // in bytes
  std::atomic<uint64_t> mismatches_ = 0;  // pieces in which legs differ
};

}  // namespace sluice::mirror
