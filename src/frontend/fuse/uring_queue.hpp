// UringQueue: one of the kernel's queues of FUSE requests over io_uring (Linux 6.14).
//
// The kernel has one per possible processor; which of our threads serves which is our affair. One
// immortal coroutine per entry: register, decode, serve, commit and fetch the next. The ring must
// have wide SQEs. FORGET and INTERRUPT do not come this way: somebody must read /dev/fuse as well.
//
// With a pool (UringPools) it is one for zero copy (Linux 7.3): each entry has a slot of the ring's
// buffer table, where the kernel puts the pages of a READ or WRITE; all else is copied as usual.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "frontend/fuse/queue.hpp"

namespace sluice::fuse {

class UringQueue final : public Queue {
 public:
  struct Setup {
    uint16_t id = 0;  // of the kernel's queue
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
    File device;                  // /dev/fuse, registered
    std::span<std::byte> pool{};  // or nothing
  };

  // ENOMEM: no room for the buffers.
  static Result<std::unique_ptr<UringQueue>> create(const Setup& setup, Ring& ring, FileIo& io,
                                                    QueueListener& listener);
  ~UringQueue() override;

  void start() override;
  // An entry that waits in the kernel cannot be called back: it stays there, see leaves_commands().
  void stop() override;
  void list_in_flight(std::vector<InFlight>& found) const override;
  bool leaves_commands() const override { return live_entries_ != 0; }

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
  void finish();

  const Setup setup_;
  Ring& ring_;
  FileIo& io_;
  QueueListener& listener_;
  TagMemory memory_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<LastCheck> last_check_;
  uint32_t live_entries_ = 0;
  uint32_t serving_ = 0;
  bool stopping_ = false;
  bool finished_ = false;
};

}  // namespace sluice::fuse
