// Device: a stack as a block device within the same process: no driver, no privilege, any kernel.
//
//   auto device = direct::Device::create(stack, {.queues = 1, .depth = 32});
//   Status status = (*device)->read(0, memory);
//
// Each queue has a thread and a ring. read(), write(), flush() ... block until the end and may be
// called on any thread except the device's; submit() does not block. EINVAL: a length that is no
// multiple of the stack's logical block, or 4 GiB or more, or a range outside the stack.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "frontend/direct/queue.hpp"
#include "reactor/reactor.hpp"
#include "ring/offload.hpp"
#include "target/stack.hpp"

namespace sluice::direct {

class Device final : public ReactorListener {
 public:
  struct Options {
    uint16_t queues = 1;
    uint16_t depth = 32;  // tags per queue
    // For calls of targets that block (Offload). Without one, extents() finds only data where it
    // would take such a call, and compressed data is expanded on the thread of the queue.
    uint32_t offload_threads = 0;
    // Memory of the program to register with every ring, which makes I/O on it cheaper. It must
    // outlive the device.
    std::span<std::byte> registered{};
  };

  // Starts the threads. EINVAL: no queues or no tags; ENOSYS, EPERM, ENOMEM: no io_uring here,
  // or no memory.
  static Result<std::unique_ptr<Device>> create(Stack& stack, const Options& options);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  // Waits until all submitted I/O has ended, and its pages are back.
  ~Device() = default;

  // io.done() is called on the thread of `queue`. If there is no such queue, it is called with
  // EINVAL before submit() returns.
  void submit(uint16_t queue, Io& io);

  Status read(uint64_t offset, std::span<std::byte> memory);
  Status write(uint64_t offset, std::span<const std::byte> memory, bool fua = false);
  Status flush();
  Status discard(uint64_t offset, uint64_t length);
  // `fast_only`: EOPNOTSUPP where the zeroes would have to be written as data.
  Status write_zeroes(uint64_t offset, uint64_t length, bool fast_only = false);
  // Advice: the range will be read soon.
  Status prefetch(uint64_t offset, uint64_t length);
  // What is data or hole from `offset` on: see Target::extents().
  Status extents(uint64_t offset, Extents& found);

  // Per queue, in order.
  std::vector<QueueReport> reports() const;

 private:
  class Waited;

  explicit Device(std::span<std::byte> registered) : registered_(registered) {}
  Result<void> add_queue(Stack& stack, const Queue::Setup& setup);
  bool is_registered(std::span<const std::byte> memory) const;
  Status run(Waited& io);
  void reactor_changed() override {}

  const std::span<std::byte> registered_;
  std::unique_ptr<Offload> offload_;  // null: none
  std::vector<Queue*> queues_;        // of the reactors, in order
  std::vector<std::unique_ptr<Reactor>> reactors_;
  std::atomic<uint32_t> turn_ = 0;  // the queue for the next blocking call
};

}  // namespace sluice::direct
