// Queue: serves one hardware queue of a ublk device on one ring.
//
// One immortal coroutine per tag: fetch, decode, lend, submit to the stack, commit, and again.
// Where one operation serves a request, the commit is linked to it (ring/linked_command.hpp); such
// a request is counted when its tag gets the next one. It ends when the driver has taken every tag
// back, because the device was stopped.
//
// pause() and stop() are for a device that delivers nothing, because it was quiesced or never went
// live: the queue ends when all of its requests are answered, and its tags stay with the driver. It
// cannot be resumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/page_pool.hpp"
#include "core/task.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/mode.hpp"
#include "reactor/queue.hpp"
#include "ring/raw_operation.hpp"
#include "ring/ring.hpp"
#include "target/stack.hpp"

namespace sluice::ublk {

class Queue final : public sluice::Queue {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
    BufferMode mode = BufferMode::copy;
    bool user_copy = false;                   // explicit copies work: the device has USER_COPY
    std::optional<uint32_t> reserve_bytes{};  // nullopt: the default of the mode
    File char_device;                         // the slot where /dev/ublkcN is registered
  };

  // ENOMEM: no memory for data that is copied.
  static Result<std::unique_ptr<Queue>> create(const Setup& setup, Ring& ring, Stack& stack,
                                               QueueListener& listener);
  ~Queue() override;

  // Maps the descriptors of `char_device`, /dev/ublkcN, and fetches every tag. The device can start
  // once the ring has submitted these commands.
  Result<void> start(int char_device) override;
  // The same with descriptors that are mapped already, one for each tag. They outlive the queue.
  void start_on(const abi::IoDescriptor* descriptors, int char_device);
  void stop() override;
  void pause() override;
  void resume() override {}
  // Error: the driver has taken a tag back before it delivered a request.
  Result<void> check_taken() const override;
  bool leaves_commands() const override { return leaves_commands_; }

  void list_in_flight(std::vector<InFlight>& found) const override;

 private:
  struct Tag;

  Queue(const Setup& setup, Ring& ring, Stack& stack, QueueListener& listener);
  Result<void> allocate_memory();
  Result<void> map_buffers();

  Result<void> map_descriptors(int char_device);
  Service serve(Tag& tag);
  Service drain();
  bool drained() const;
  void give_up();
  bool is_committed(const Tag& tag) const;
  Status decode(Tag& tag);
  Task prepare_by_hand(Request& request, Tag& tag);
  Task copy_in(Request& request, Tag& tag);
  Task copy_out(Request& request, Tag& tag, Status status);
  Task finish_by_hand(Request& request, Tag& tag, Status status);
  void lend(Tag& tag);
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
  const abi::IoDescriptor* descriptors_ = nullptr;
  std::span<std::byte> mapping_;  // of the descriptors, if we made it
  int char_fd_ = -1;
  std::unique_ptr<PagePool> pool_;  // for data that is copied here; null if the driver copies
  std::span<std::byte> buffers_;    // depth x max_io_bytes, if the driver copies
  std::unique_ptr<Tag[]> tags_;
  uint32_t live_tags_ = 0;
  int refusal_ = 0;        // errno with which the driver has refused a tag
  uint64_t commands_ = 0;  // that were given to the ring
  uint32_t linkable_ = 0;
  bool draining_ = false;
  bool leaves_commands_ = false;
};

}  // namespace sluice::ublk
