// Copy: copies the data of one open disk to another one, many pieces at once.
//
//   auto copy = Copy::begin(source, target, plan);
//   ... poll((*copy)->ended_descriptor()), (*copy)->done_bytes(), stop() ...
//   const Copy::Outcome outcome = (*copy)->finish();
//
// The extents of the source are found ahead of the pieces (CopyPieces). Each reactor serves both
// disks, so that a piece is read, searched for zeroes and written on one thread, by one coroutine
// with one buffer; the pieces end in any order. Begun and finished by one thread; the other
// functions are for any thread. The disks outlive it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/buffer.hpp"
#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "image/copy_pieces.hpp"
#include "image/open_disk.hpp"
#include "reactor/reactor.hpp"
#include "ring/async_mutex.hpp"
#include "ring/offload.hpp"

namespace sluice::image {

class CopyQueue;

class Copy final : private ReactorListener {
 public:
  struct Plan {
    CopyPieces::Rules pieces{};
    uint64_t grain_bytes = 4096;  // zeroes are looked for in pieces of so many; 0: nowhere
    uint16_t at_once = 8;         // pieces, from 1
  };
  struct Outcome {
    Error error;  // of the piece that failed first; 0: none
    // Everything before it has been copied. It is on the target when that has been flushed.
    uint64_t good_until = 0;
    bool stopped = false;  // by stop()
  };

  // Starts the threads. ENOMEM, and what Reactor reports.
  static Result<std::unique_ptr<Copy>> begin(OpenDisk& source, OpenDisk& target, const Plan& plan);
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  ~Copy();

  // Readable when the copy has ended.
  int ended_descriptor() const { return ended_.number(); }
  // Takes no more pieces: the copy ends soon.
  void stop();
  // Bytes of the disk that are copied, or need no work.
  uint64_t done_bytes() const { return done_.load(std::memory_order_relaxed); }
  // Waits for the end.
  Outcome finish();

  // --- For the queues of the reactors.
  enum class Step : uint8_t { copy, look, wait, end };
  // What a coroutine does next. look: it finds the next extents, and calls found() or fail().
  Step next(CopyPiece& piece);
  uint64_t found_until() const;  // by the one who looks
  void found(std::span<const Extent> extents);
  void end_piece(const CopyPiece& piece);
  void fail(uint64_t offset, Error error);

  OpenDisk& source() { return source_; }
  OpenDisk& target() { return target_; }
  const Plan& plan() const { return plan_; }
  AsyncMutex& looking() { return looking_; }  // held by the one who looks

 private:
  Copy(OpenDisk& source, OpenDisk& target, const Plan& plan);
  Result<void> start();
  Result<void> add_reactor(uint16_t number, uint16_t tags, uint64_t first_buffer);
  void reactor_changed() override;

  OpenDisk& source_;
  OpenDisk& target_;
  const Plan plan_;
  const Buffer memory_;
  Descriptor ended_;
  std::atomic<uint64_t> done_;
  AsyncMutex looking_;

  mutable std::mutex mutex_;  // guards what follows, for moments
  CopyPieces pieces_;
  bool someone_looks_ = false;
  bool stopping_ = false;
  Outcome outcome_;
  uint64_t failed_at_ = UINT64_MAX;

  std::unique_ptr<Offload> offload_;
  std::vector<CopyQueue*> queues_;  // of the reactors
  std::vector<std::unique_ptr<Reactor>> reactors_;
  std::atomic<size_t> running_ = 0;
};

}  // namespace sluice::image
