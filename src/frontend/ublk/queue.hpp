// Queue: serves one hardware queue of a ublk device on one ring.
//
// One immortal coroutine per tag: fetch, decode, lend, submit to the stack, commit, and again.
// Where one operation serves a request, the commit is linked to it (ring/follower.hpp); such a
// request is counted when its tag gets the next one. Created and used by the ring's thread only,
// but for counters(). When the driver has taken every tag back (the device is stopped) the queue is
// finished and calls `on_finished`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/task.hpp"
#include "frontend/in_flight.hpp"
#include "frontend/queue_counters.hpp"
#include "frontend/queue_listener.hpp"
#include "frontend/ublk/abi_io.hpp"
#include "frontend/ublk/mode.hpp"
#include "ring/raw_operation.hpp"
#include "ring/ring.hpp"
#include "target/stack.hpp"

namespace sluice::ublk {

class Queue {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
    BufferMode mode = BufferMode::copy;
    bool user_copy = false;  // explicit copies work: the device has USER_COPY
    File char_device;        // /dev/ublkcN, registered
    int char_fd = -1;        // the same
    const abi::IoDescriptor* descriptors = nullptr;  // `depth` of them, mapped from the driver
  };

  // ENOMEM: no room for the buffers of a copying mode.
  static Result<std::unique_ptr<Queue>> create(const Setup& setup, Ring& ring, Stack& stack,
                                               QueueListener& listener);
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  ~Queue();

  // Fetches every tag; the device can start once the ring has submitted that.
  void start();

  // The device is quiesced: the driver delivers nothing more. Whether all requests are answered;
  // only while nothing is ready to run and all SQEs have been submitted.
  bool drained() const;
  // After that: every tag ends as if the driver had taken it back. The ring must take no more
  // completions; when it is closed, so are the commands that the driver still has.
  void give_up();

  void list_in_flight(std::vector<InFlight>& found) const;

  const QueueCounters& counters() const { return counters_; }

 private:
  struct Tag;

  Queue(const Setup& setup, Ring& ring, Stack& stack, QueueListener& listener);
  Result<void> allocate_buffers();

  Service serve(Tag& tag);
  bool is_committed(const Tag& tag) const;
  Status decode(Tag& tag);
  Task prepare_by_hand(Request& request, Tag& tag);
  Task copy_in(Request& request, Tag& tag);
  Task copy_out(Request& request, Tag& tag, Status status);
  Task finish_by_hand(Request& request, Tag& tag, Status status);
  void lend(Tag& tag);
  void take_back(Tag& tag);
  int32_t conclude(Tag& tag, Status status);

  RawOperation fetch(unsigned long op, const Tag& tag, int32_t result);
  io_uring_sqe fetch_sqe(unsigned long op, const Tag& tag, int32_t result) const;
  RawOperation command(unsigned long op, const Tag& tag, uint64_t address);
  io_uring_sqe make_sqe(unsigned long op, const Tag& tag, int32_t result, uint64_t address,
                        uint64_t auto_buffer) const;
  std::span<std::byte> bytes_of(const Tag& tag) const;
  uint64_t position(const Tag& tag) const;

  const Setup setup_;
  Ring& ring_;
  Stack& stack_;
  QueueListener& listener_;
  std::unique_ptr<Tag[]> tags_;
  std::span<std::byte> buffers_;  // depth x max_io_bytes, in the copying modes
  uint32_t live_tags_ = 0;
  uint32_t linkable_ = 0;
  QueueCounters counters_;
};

}  // namespace sluice::ublk
