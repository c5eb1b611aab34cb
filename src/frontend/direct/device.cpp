#include "frontend/direct/device.hpp"

#include <fmt/format.h>

#include <semaphore>

#include "core/extents.hpp"
#include "frontend/direct/queue.hpp"

namespace sluice::direct {

namespace {

constexpr int kSlot = 0;  // of the program's memory, in every ring

}  // namespace

// The Io of a blocking call.
class Device::Waited final : public Io {
 public:
  Waited(Op wanted, uint64_t at, uint64_t bytes = 0) {
    op = wanted;
    offset = at;
    length = bytes;
  }
  void done(Status status) noexcept override {
    status_ = status;
    ended_.release();
  }
  Status wait() {
    ended_.acquire();
    return status_;
  }

 private:
  Status status_;
  std::binary_semaphore ended_{0};
};

Result<std::unique_ptr<Device>> Device::create(Stack& stack, const Options& options) {
  if (options.queues == 0 || options.depth == 0) {
    return fail(EINVAL, fmt::format("a device has at least one queue of at least one tag, not {} "
                                    "of {}",
                                    options.queues, options.depth));
  }
  if (stack.disks().size() > 1) {
    return fail(EINVAL, fmt::format("a device serves one disk, and the stack has {}: open each on "
                                    "its own",
                                    stack.disks().size()));
  }
  std::unique_ptr<Device> device(new Device(options.registered));
  if (options.offload_threads != 0) {
    auto offload = Offload::create(options.offload_threads);
    if (!offload) return std::unexpected(offload.error());
    device->offload_ = std::move(*offload);
  }
  for (uint16_t i = 0; i < options.queues; ++i) {
    auto added = device->add_queue(stack, {.id = i, .depth = options.depth});
    if (!added) return std::unexpected(added.error());
  }
  return device;
}

// Adds a reactor for the queue, with the program's memory in a slot.
Result<void> Device::add_queue(Stack& stack, const Queue::Setup& setup) {
  const auto make = [this, setup, &stack](
                        KernelRing& ring,
                        QueueListener& reactor) -> Result<std::unique_ptr<sluice::Queue>> {
    if (!registered_.empty()) {
      auto registered = ring.register_memory(kSlot, registered_);
      if (!registered) return std::unexpected(registered.error());
    }
    auto queue = std::make_unique<Queue>(setup, ring, stack, reactor);
    queues_.push_back(queue.get());
    return queue;
  };
  Reactor::Setup plan{.name = "sluice-direct",
                      .files = stack.registered_files(),
                      .queues = {{.tags = setup.depth, .slots = kSlot + 1, .make = make}},
                      .stacks = {&stack},
                      .offload = offload_.get(),
                      .warm_up = false};
  reactors_.push_back(std::make_unique<Reactor>(std::move(plan), *this));
  auto ready = reactors_.back()->prepare();
  return ready ? reactors_.back()->begin(-1) : ready;
}

bool Device::is_registered(std::span<const std::byte> memory) const {
  return memory.data() >= registered_.data() &&
         memory.data() + memory.size() <= registered_.data() + registered_.size();
}

void Device::submit(uint16_t queue, Io& io) {
  if (queue >= queues_.size()) return io.done(Status::from_errno(EINVAL));
  io.slot = is_registered(io.memory) ? kSlot : Loan::kNoSlot;
  queues_[queue]->post(io);
}

Status Device::read(uint64_t offset, std::span<std::byte> memory) {
  Waited io(Op::read, offset);
  io.memory = memory;
  return run(io);
}

Status Device::write(uint64_t offset, std::span<const std::byte> memory, bool fua) {
  Waited io(Op::write, offset);
  io.fua = fua;
  // Lent as a source: never written to.
  io.memory = {const_cast<std::byte*>(memory.data()), memory.size()};
  return run(io);
}

Status Device::flush() {
  Waited io(Op::flush, 0);
  return run(io);
}

Status Device::discard(uint64_t offset, uint64_t length) {
  Waited io(Op::discard, offset, length);
  return run(io);
}

Status Device::write_zeroes(uint64_t offset, uint64_t length, bool fast_only) {
  Waited io(Op::write_zeroes, offset, length);
  io.fast_only = fast_only;
  return run(io);
}

Status Device::prefetch(uint64_t offset, uint64_t length) {
  Waited io(Op::prefetch, offset, length);
  return run(io);
}

Status Device::extents(uint64_t offset, Extents& found) {
  Waited io(Op::flush, offset, found.range_bytes());
  io.extents = &found;
  return run(io);
}

Status Device::run(Waited& io) {
  const uint32_t turn = turn_.fetch_add(1, std::memory_order_relaxed);
  submit(static_cast<uint16_t>(turn % reactors_.size()), io);
  return io.wait();
}

std::vector<QueueReport> Device::reports() const {
  std::vector<QueueReport> reports;
  for (const auto& reactor : reactors_) reports.push_back(reactor->report());
  return reports;
}

}  // namespace sluice::direct
