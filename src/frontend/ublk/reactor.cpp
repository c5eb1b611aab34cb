#include "frontend/ublk/reactor.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "frontend/ublk/abi.hpp"
#include "ring/kernel_ring.hpp"

namespace sluice::ublk {
namespace {

constexpr std::chrono::milliseconds kRest{1};

size_t descriptor_bytes(uint16_t depth) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (depth * sizeof(abi::IoDescriptor) + page - 1) / page * page;
}

// Best effort: a processor may be offline or not ours to use.
void run_on(std::span<const int> processors) {
  if (processors.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int processor : processors) CPU_SET(static_cast<size_t>(processor), &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

}  // namespace

Reactor::Reactor(Setup setup, Stack& stack) : setup_(std::move(setup)), stack_(stack) {}

Reactor::~Reactor() {
  join();
  queues_.clear();
  for (const std::span<std::byte> mapping : mappings_) munmap(mapping.data(), mapping.size());
}

void Reactor::start() {
  thread_ = std::thread([this] { run(); });
}

Result<void> Reactor::wait_until_ready() { return ready_.get_future().get(); }

void Reactor::join() {
  if (thread_.joinable()) thread_.join();
}

void Reactor::drain() {
  const std::scoped_lock guard(ring_mutex_);
  if (ring_ && !drain_asked_.exchange(true)) ring_->post(drain_message_);
}

void Reactor::DrainMessage::run() {
  reactor_.draining_ = true;
  reactor_.ring_->abandon();
}

// The driver has delivered its last request before the device was quiesced, but that may be on its
// way still: it is there when the ring has come round once more. Nobody reports the end of a linked
// commit: we look again after a moment.
void Reactor::finish_requests() {
  bool drained = false;
  while (!drained) {
    bool rested = false;
    rest(rested);
    while (!rested) ring_->run_once(true);
    for (uint64_t submitted = 0; submitted != ring_->counters().submitted;) {
      submitted = ring_->counters().submitted;
      ring_->run_once(false);
    }
    drained = !ring_->waiting() &&
              std::ranges::all_of(queues_, [](const auto& queue) { return queue->drained(); });
  }
  for (const auto& queue : queues_) queue->give_up();
  ring_->ready().run();
}

Result<std::vector<InFlight>> Reactor::in_flight() {
  return inquiry_.ask([this](Message& message) {
    const std::scoped_lock guard(ring_mutex_);
    if (ring_) ring_->post(message);
    return ring_ != nullptr;
  });
}

std::vector<InFlight> Reactor::list_in_flight() const {
  std::vector<InFlight> found;
  for (const auto& queue : queues_) queue->list_in_flight(found);
  return found;
}

Service Reactor::rest(bool& rested) {
  auto sleeping = ring_->sleep(kRest);
  [[maybe_unused]] const Status slept = co_await sleeping;
  rested = true;
}

void Reactor::abandon() {
  {
    const std::scoped_lock guard(ring_mutex_);
    if (ring_) ring_->abandon();
  }
  join();
}

void Reactor::run() {
  thread_id_.store(gettid(), std::memory_order_relaxed);
  pthread_setname_np(pthread_self(), fmt::format("sluice-q{}", setup_.queues.front().id).c_str());
  run_on(setup_.processors);
  if (auto prepared = prepare(); !prepared) {
    close_ring();
    ready_.set_value(std::unexpected(prepared.error()));
    return;
  }
  for (const auto& queue : queues_) queue->start();
  ring_->run_once(false);
  ready_.set_value({});
  ring_->run();
  if (draining_) finish_requests();
  close_ring();
}

// On the ring's own thread the kernel lets go of the registered files at once; otherwise a block
// device that was opened exclusively stays busy for a while.
void Reactor::close_ring() {
  const std::scoped_lock guard(ring_mutex_);
  if (!ring_) return;
  const RingCounters& counters = ring_->counters();
  spdlog::info("queue {}: {} operations submitted, {} completions, {} system calls",
               setup_.queues.front().id, counters.submitted, counters.completed, counters.enters);
  copied_bytes_ = counters.copied_bytes;
  ring_.reset();
}

uint64_t Reactor::copied_bytes() const {
  const std::scoped_lock guard(ring_mutex_);
  return ring_ ? ring_->counters().copied_bytes.load() : copied_bytes_;
}

Result<void> Reactor::prepare() {
  uint32_t tags = 0;
  for (const Queue::Setup& queue : setup_.queues) tags += queue.depth;
  // A tag has its command and one or more operations of its request in flight.
  auto ring = KernelRing::create({.entries = std::clamp(2 * tags, 64U, 4096U),
                                  .cq_entries = std::max(8 * tags, 1024U),
                                  .slots = std::min(tags, KernelRing::kMaxSlots),
                                  .files = setup_.files});
  if (!ring) return std::unexpected(ring.error());
  ring_ = std::move(*ring);
  for (Queue::Setup& setup : setup_.queues) {
    auto descriptors = map_descriptors(setup);
    if (!descriptors) return std::unexpected(descriptors.error());
    setup.descriptors = *descriptors;
    auto queue = Queue::create(setup, *ring_, stack_, *this);
    if (!queue) return std::unexpected(queue.error());
    queues_.push_back(std::move(*queue));
  }
  live_queues_ = static_cast<uint32_t>(queues_.size());
  return {};
}

Result<const abi::IoDescriptor*> Reactor::map_descriptors(const Queue::Setup& queue) {
  const size_t stride = descriptor_bytes(abi::kMaxQueueDepth);
  const size_t bytes = descriptor_bytes(queue.depth);
  void* const place = mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, setup_.char_fd,
                           static_cast<off_t>(queue.id * stride));
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("cannot map the requests of queue {}: {}", queue.id,
                                   std::strerror(errno)));
  }
  mappings_.emplace_back(static_cast<std::byte*>(place), bytes);
  return static_cast<const abi::IoDescriptor*>(place);
}

void Reactor::finished() {
  if (--live_queues_ == 0) ring_->stop();
}

}  // namespace sluice::ublk
