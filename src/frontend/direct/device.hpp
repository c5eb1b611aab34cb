// Device: a stack as a block device of the same process: no driver, no privilege, any kernel.
//
//   auto device = direct::Device::create(stack, {.queues = 1, .depth = 32});
//   Status status = (*device)->read(0, memory);
//
// Each queue has a thread and a ring of its own. read(), write(), flush() ... wait for the end and
// may be called by any thread but the device's; submit() does not wait. A size that is no multiple
// of the stack's logical block, of 4 GiB or more, or a range outside it, is EINVAL.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "frontend/direct/io.hpp"
#include "frontend/queue_counters.hpp"
#include "target/stack.hpp"

namespace sluice::direct {

class Device {
 public:
  struct Options {
    uint16_t queues = 1;
    uint16_t depth = 32;  // tags of each
    // Memory of the program that is registered with every ring, so that I/O on it costs less. It
    // lives as long as the device.
    std::span<std::byte> registered{};
  };

  // Starts the threads. EINVAL: no queues or no tags; ENOSYS, EPERM, ENOMEM: no io_uring here.
  static Result<std::unique_ptr<Device>> create(Stack& stack, const Options& options);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  // Waits until all that was submitted has ended, and its pages are back.
  ~Device();

  // `queue`: below Options::queues. io.done() is called on its thread.
  void submit(uint16_t queue, Io& io);

  Status read(uint64_t offset, std::span<std::byte> memory);
  Status write(uint64_t offset, std::span<const std::byte> memory, bool fua = false);
  Status flush();
  Status discard(uint64_t offset, uint64_t length);
  Status write_zeroes(uint64_t offset, uint64_t length);

  // Per queue, in order.
  std::vector<QueueReport> reports() const;

 private:
  class Reactor;
  class Waited;

  Device();
  Status run(Waited& io);

  std::vector<std::unique_ptr<Reactor>> reactors_;
  std::atomic<uint32_t> turn_ = 0;  // which queue the next waiting call uses
};

}  // namespace sluice::direct
