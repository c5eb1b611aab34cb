#include "frontend/direct/device.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <semaphore>
#include <thread>

#include "frontend/direct/queue.hpp"
#include "ring/kernel_ring.hpp"

namespace sluice::direct {

// A thread with a ring and one queue.
class Device::Reactor {
 public:
  Reactor(Queue::Setup setup, Stack& stack, std::span<std::byte> registered)
      : setup_(setup), stack_(stack), registered_(registered) {}
  ~Reactor() {
    if (ring_) ring_->stop();
    if (thread_.joinable()) thread_.join();
  }

  Result<void> start() {
    thread_ = std::thread([this] { serve(); });
    return ready_.get_future().get();
  }
  void post(Io& io) {
    io.slot = is_registered(io.memory) ? kSlot : Loan::kNoSlot;
    queue_->post(io);
  }

  QueueReport report() const {
    QueueReport report{.thread_id = thread_id_, .copied_bytes = ring_->counters().copied_bytes};
    report.add(queue_->counters());
    return report;
  }

 private:
  void serve() {
    thread_id_ = gettid();
    auto prepared = prepare();
    const bool serves = prepared.has_value();
    ready_.set_value(std::move(prepared));
    if (!serves) return;
    ring_->run();
    while (queue_->busy()) ring_->run_once(/*wait=*/true);  // somebody still holds their pages
    queue_.reset();
  }

  Result<void> prepare() {
    const uint32_t tags = setup_.depth;
    auto ring = KernelRing::create({.entries = std::clamp(2 * tags, 64U, 4096U),
                                    .cq_entries = std::max(8 * tags, 1024U),
                                    .slots = kSlot + 1,
                                    .files = stack_.files()});
    if (!ring) return std::unexpected(ring.error());
    if (!registered_.empty()) {
      auto registered = (*ring)->register_memory(kSlot, registered_);
      if (!registered) return registered;
    }
    queue_ = std::make_unique<Queue>(setup_, **ring, stack_);
    ring_ = std::move(*ring);
    return {};
  }

  bool is_registered(std::span<const std::byte> memory) const {
    return memory.data() >= registered_.data() &&
           memory.data() + memory.size() <= registered_.data() + registered_.size();
  }

  static constexpr int kSlot = 0;

  const Queue::Setup setup_;
  Stack& stack_;
  const std::span<std::byte> registered_;
  std::unique_ptr<KernelRing> ring_;  // made by its thread, before start() returns
  std::unique_ptr<Queue> queue_;      // made and ended by its thread
  int thread_id_ = 0;
  std::promise<Result<void>> ready_;
  std::thread thread_;
};

// What a call waits for.
class Device::Waited final : public Io {
 public:
  Waited(Op wanted, uint64_t at, uint64_t bytes = 0) {
    op = wanted;
    offset = at;
    length = bytes;
  }
  void done(Status status) override {
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

Device::Device() = default;

Device::~Device() = default;

Result<std::unique_ptr<Device>> Device::create(Stack& stack, const Options& options) {
  if (options.queues == 0 || options.depth == 0) {
    return fail(EINVAL, fmt::format("a device has at least one queue of at least one tag, not {} "
                                    "of {}",
                                    options.queues, options.depth));
  }
  std::unique_ptr<Device> device(new Device);
  for (uint16_t i = 0; i < options.queues; ++i) {
    const Queue::Setup setup{.id = i, .depth = options.depth};
    device->reactors_.push_back(std::make_unique<Reactor>(setup, stack, options.registered));
    auto started = device->reactors_.back()->start();
    if (!started) return std::unexpected(started.error());
  }
  return device;
}

void Device::submit(uint16_t queue, Io& io) { reactors_.at(queue)->post(io); }

Status Device::read(uint64_t offset, std::span<std::byte> memory) {
  Waited io(Op::read, offset);
  io.memory = memory;
  return run(io);
}

Status Device::write(uint64_t offset, std::span<const std::byte> memory, bool fua) {
  Waited io(Op::write, offset);
  io.fua = fua;
  // Lent as a source: nobody writes to it.
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

Status Device::write_zeroes(uint64_t offset, uint64_t length) {
  Waited io(Op::write_zeroes, offset, length);
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
