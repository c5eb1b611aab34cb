#include "frontend/fuse/reactor.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace sluice::fuse {

Reactor::Reactor(Setup setup, FileIo& io) : setup_(std::move(setup)), io_(io) {}

Reactor::~Reactor() {
  stop();
  join();
}

Result<void> Reactor::start() {
  auto ready = ready_.get_future();
  thread_ = std::thread([this] { serve(); });
  return ready.get();
}

void Reactor::stop() {
  const std::scoped_lock guard(ring_mutex_);
  if (ring_ && !std::exchange(stop_posted_, true)) ring_->post(*this);
}

void Reactor::join() {
  if (thread_.joinable()) thread_.join();
}

void Reactor::serve() {
  thread_id_.store(gettid(), std::memory_order_relaxed);
  pthread_setname_np(pthread_self(), fmt::format("sluice-q{}", setup_.number).c_str());
  if (auto prepared = prepare(); !prepared) {
    close_ring();
    ready_.set_value(std::unexpected(prepared.error()));
    return;
  }
  for (const auto& queue : queues_) queue->start();
  ring_->run_once(false);
  ready_.set_value({});
  ring_->run();
  close_ring();
}

Result<void> Reactor::prepare() {
  uint32_t tags = 0;
  for (const auto& queue : setup_.copy_queues) tags += queue.depth;
  for (const auto& queue : setup_.splice_queues) tags += queue.depth;
  uint32_t slots = 0;
  for (const auto& queue : setup_.uring_queues) {
    tags += queue.depth;
    if (!queue.pool.empty()) slots += queue.depth;
  }
  // A tag has its command and one or more operations of its request in flight.
  auto ring = KernelRing::create({.entries = std::clamp(2 * tags, 64U, 4096U),
                                  .cq_entries = std::max(8 * tags, 1024U),
                                  .slots = slots,
                                  .wide_sqes = !setup_.uring_queues.empty(),
                                  .files = setup_.files});
  if (!ring) return std::unexpected(ring.error());
  {
    const std::scoped_lock guard(ring_mutex_);
    ring_ = std::move(*ring);
  }
  for (const auto& setup : setup_.copy_queues) {
    auto queue = CopyQueue::create(setup, *ring_, io_, *this);
    if (!queue) return std::unexpected(queue.error());
    queues_.push_back(std::move(*queue));
  }
  for (const auto& setup : setup_.splice_queues) {
    if (auto opened = ring_->pipes().open(setup.max_io_bytes); !opened) return opened;
    auto queue = SpliceQueue::create(setup, *ring_, io_, *this);
    if (!queue) return std::unexpected(queue.error());
    queues_.push_back(std::move(*queue));
  }
  for (const auto& setup : setup_.uring_queues) {
    auto queue = UringQueue::create(setup, *ring_, io_, *this);
    if (!queue) return std::unexpected(queue.error());
    queues_.push_back(std::move(*queue));
  }
  live_queues_ = static_cast<uint32_t>(queues_.size());
  return {};
}

void Reactor::close_ring() {
  const std::scoped_lock guard(ring_mutex_);
  if (!ring_) return;
  copied_bytes_ = ring_->counters().copied_bytes;
  ring_.reset();
}

void Reactor::finished() {
  if (--live_queues_ != 0) return;
  const bool commands_left =
      std::ranges::any_of(queues_, [](const auto& queue) { return queue->leaves_commands(); });
  if (commands_left) {
    ring_->abandon();
  } else {
    ring_->stop();
  }
}

void Reactor::run() {
  for (const auto& queue : queues_) queue->stop();
}

QueueReport Reactor::report() const {
  QueueReport report{.thread_id = thread_id_.load(std::memory_order_relaxed)};
  {
    const std::scoped_lock guard(ring_mutex_);
    report.copied_bytes = ring_ ? ring_->counters().copied_bytes.load() : copied_bytes_;
  }
  for (const auto& queue : queues_) report.add(queue->counters());
  return report;
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

}  // namespace sluice::fuse
