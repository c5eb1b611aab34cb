// UringQueue: one of the kernel's queues of FUSE requests over io_uring (Linux 6.14).
//
// The kernel has one queue per possible processor; any of our threads may serve any of them. One
// immortal coroutine per entry: register, decode, serve, commit and fetch the next. The ring must
// have wide SQEs. FORGET and INTERRUPT do not come this way, so /dev/fuse must be read as well.
//
// With a pool (UringPools) it is a zero-copy queue (Linux 7.3): each entry has a slot of the ring's
// buffer table, where the kernel puts the pages of a READ or WRITE; all else is copied as usual.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "frontend/fuse/file_io.hpp"
#include "reactor/queue.hpp"

namespace sluice::fuse {

class UringQueue final : public Queue {
 public:
  struct Setup {
    uint16_t id = 0;  // of the kernel's queue
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
    File device;  // /dev/fuse, registered
    std::optional<uint32_t> reserve_bytes{};
    std::span<std::byte> pool{};  // empty: no zero copy
  };

  // ENOMEM: no room for the buffers.
  static Result<std::unique_ptr<UringQueue>> create(const Setup& setup, Ring& ring, FileIo& io,
                                                    QueueListener& listener);
  ~UringQueue() override;

  Result<void> start(int device) override;
  // Entries that wait in the kernel cannot be cancelled: they stay there, see leaves_commands().
  void stop() override;
  // No effect: entries belong to one ring, so the queue is never handed over.
  void pause() override {}
  void resume() override {}
  void list_in_flight(std::vector<InFlight>& found) const override;
  bool leaves_commands() const override { return live_entries_ != 0; }
  Result<void> check_taken() const override;

 private:
  struct Entry;
  class Command;
  class LastCheck;

  UringQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener);

  Service serve(Entry& entry);
  void decode(Entry& entry) const;
  std::byte* payload_of(const Entry& entry) const;
  void write_answer(Entry& entry) const;
  bool zero_copy() const { return !setup_.pool.empty(); }
  void leave_if_idle();

  const Setup setup_;
  Ring& ring_;
  FileIo& io_;
  TagMemory memory_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<LastCheck> last_check_;
  uint32_t live_entries_ = 0;
  int refusal_ = 0;  // the errno for the last entry that the kernel refused
  uint32_t serving_ = 0;
  bool stopping_ = false;
};

}  // namespace sluice::fuse
