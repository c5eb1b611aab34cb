#include "reactor/reactor.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <span>
#include <utility>

#include "core/log.hpp"
#include "core/resident.hpp"
#include "core/thread.hpp"

namespace sluice {
namespace {

// The kernel refuses a command at once: in the round of the ring that submits it. The queue has
// seen the refusal when the next round begins.
constexpr int kRoundsToAnswer = 2;

// The time for a reactor to attach its targets and start its queues.
constexpr std::chrono::seconds kAnswerTimeout = StackLife::kTimeout + std::chrono::seconds(5);

// Best effort: a processor may be offline or not ours to use.
void run_on(std::span<const int> processors) {
  if (processors.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int processor : processors) CPU_SET(static_cast<size_t>(processor), &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

}  // namespace

Reactor::Reactor(Setup setup, ReactorListener& listener)
    : setup_(std::move(setup)), listener_(listener) {}

Reactor::~Reactor() {
  stop();
  join();
}

Result<void> Reactor::prepare() {
  auto ready = ready_.get_future();
  auto thread = start_thread(setup_.name, [this] { run(); });
  if (!thread) return std::unexpected(thread.error());
  thread_ = std::move(*thread);
  return ready.get();
}

Result<void> Reactor::begin(int device) {
  device_ = device;
  auto began = began_.get_future();
  if (!post(begin_order_)) return fail(ESHUTDOWN, "the thread of a queue has ended");
  return wait_for(std::move(began));
}

void Reactor::stop() { post(stop_order_); }

void Reactor::pause() {
  is_paused_ = false;
  post(pause_order_);
}

Result<void> Reactor::resume() {
  resumed_ = {};
  auto resumed = resumed_.get_future();
  if (!post(resume_order_)) return fail(ESHUTDOWN, "the thread of a queue has ended");
  return wait_for(std::move(resumed));
}

// Abandons the ring if the thread does not answer in time.
Result<void> Reactor::wait_for(std::future<Result<void>> answer) {
  if (answer.wait_for(kAnswerTimeout) == std::future_status::ready) return answer.get();
  abandon();
  return fail(ETIMEDOUT, fmt::format("{} did not start within {} seconds", setup_.name,
                                     kAnswerTimeout.count()));
}

void Reactor::abandon() {
  {
    const std::scoped_lock guard(ring_mutex_);
    if (ring_) ring_->abandon();
  }
  join();
}

void Reactor::join() {
  if (thread_.joinable()) thread_.join();
}

// False: there is no ring any more.
bool Reactor::post(Order& order) {
  const std::scoped_lock guard(ring_mutex_);
  if (ring_ && !std::exchange(order.posted, true)) ring_->post(order);
  return ring_ != nullptr;
}

void Reactor::Order::run() {
  {
    const std::scoped_lock guard(reactor_.ring_mutex_);
    posted = false;
  }
  (reactor_.*order_)();
}

// --- On its thread.

void Reactor::run() {
  thread_id_.store(gettid(), std::memory_order_relaxed);
  run_on(setup_.processors);
  touch_stack();
  auto made = make_all();
  const bool serves = made.has_value();
  if (serves) {
    ready_.set_value({});
    ring_->run();
  }
  close_ring();
  ended_ = true;
  if (serves) {
    listener_.reactor_changed();
  } else {
    ready_.set_value(std::move(made));
  }
}

Result<void> Reactor::make_all() {
  try {
    auto made = make_ring();
    return made ? make_queues() : made;
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM, fmt::format("no memory for the queues of {}", setup_.name));
  }
}

// A tag has its command and one or more operations of its request in flight.
Result<void> Reactor::make_ring() {
  uint32_t tags = 0;
  uint32_t slots = 0;
  uint32_t waits = 0;
  for (const QueuePlan& plan : setup_.queues) {
    tags += plan.tags;
    slots += plan.slots;
    waits += plan.waits;
  }
  slots = std::min(slots, KernelRing::kMaxSlots);
  const std::vector<int> files = file_table(setup_.files);
  KernelRing::Options options{.entries = std::clamp(2 * tags, 64U, 4096U),
                              .cq_entries = std::max(8 * tags, 1024U) + waits,
                              .slots = slots,
                              .wide_sqes = setup_.wide_sqes,
                              .files = files};
  for (const Stack* const stack : setup_.stacks) {
    options.idle_poll = std::max(options.idle_poll, stack->idle_poll());
  }
  if (setup_.warm_up) {
    options.warm_up = {.operations = 2 * tags, .slots = slots, .workers = setup_.workers};
    swap_risk_ = beyond_warm_up(tags);
  }
  auto ring = KernelRing::create(options);
  if (!ring) return std::unexpected(ring.error());
  const std::scoped_lock guard(ring_mutex_);
  ring_ = std::move(*ring);
  attachment_.emplace(setup_.stacks, *ring_);
  if (setup_.offload != nullptr) RingOffload::put(*ring_, *setup_.offload);
  return {};
}

Result<void> Reactor::make_queues() {
  for (const QueuePlan& plan : setup_.queues) {
    auto queue = plan.make(*ring_, *this);
    if (!queue) return std::unexpected(queue.error());
    queues_.push_back(std::move(*queue));
  }
  live_queues_ = queues_.size();
  return {};
}

// On the ring's own thread the kernel releases the registered files at once; otherwise a block
// device that was opened exclusively stays busy for a while.
void Reactor::close_ring() {
  const std::scoped_lock guard(ring_mutex_);
  if (!ring_) return;
  const RingCounters& counters = ring_->counters();
  log().info("{}: {} operations submitted, {} completions, {} system calls", setup_.name,
             counters.submitted, counters.completed, counters.enters);
  copied_bytes_ = counters.copied_bytes;
  ring_.reset();
}

void Reactor::begin_queues() {
  attachment_->attach([this](Result<void> attached) { begin_attached(std::move(attached)); });
}

void Reactor::begin_attached(Result<void> attached) {
  if (attached && stopping_) attached = fail(ECANCELED, "the device is stopped already");
  if (!attached) {
    attachment_->detach([this](const Result<void>&) { ring_->stop(); });
    began_.set_value(std::move(attached));
    return;
  }
  auto started = start_queues();
  if (!started) {
    stop_queues();
    began_.set_value(std::move(started));
    return;
  }
  rounds_to_check_ = kRoundsToAnswer;
  post(check_order_);
}

Result<void> Reactor::start_queues() {
  for (const RegisteredFile& file : setup_.files) {
    if (file.descriptor >= 0) continue;
    const auto slot = static_cast<size_t>(file.slot.number);
    if (auto set = ring_->set_file(slot, device_); !set) return set;
  }
  begun_ = true;
  for (const auto& queue : queues_) {
    if (auto started = queue->start(device_); !started) return started;
  }
  return {};
}

void Reactor::check_begun() {
  if (--rounds_to_check_ != 0) {
    post(check_order_);
    return;
  }
  auto taken = check_taken();
  if (!taken) stop_queues();
  began_.set_value(std::move(taken));
}

Result<void> Reactor::check_taken() const {
  for (const auto& queue : queues_) {
    if (auto taken = queue->check_taken(); !taken) return taken;
  }
  return {};
}

void Reactor::stop_queues() {
  stopping_ = true;
  if (!begun_) ring_->stop();
  if (!begun_) return;
  for (const auto& queue : queues_) queue->stop();
}

void Reactor::pause_queues() {
  paused_queues_ = 0;
  for (const auto& queue : queues_) queue->pause();
}

void Reactor::resume_queues() {
  attachment_->attach([this](Result<void> attached) {
    if (attached) {
      for (const auto& queue : queues_) queue->resume();
    }
    resumed_.set_value(std::move(attached));
  });
}

void Reactor::finished() {
  if (--live_queues_ == 0) attachment_->detach([this](const Result<void>&) { end_ring(); });
}

void Reactor::end_ring() {
  const bool commands_left =
      std::ranges::any_of(queues_, [](const auto& queue) { return queue->leaves_commands(); });
  if (commands_left) {
    ring_->abandon();
  } else {
    ring_->stop();
  }
}

void Reactor::paused() {
  if (++paused_queues_ != queues_.size()) return;
  attachment_->detach([this](const Result<void>&) {
    is_paused_ = true;
    listener_.reactor_changed();
  });
}

// --- On any thread.

QueueReport Reactor::report() const {
  QueueReport report{.thread_id = thread_id_.load(std::memory_order_relaxed)};
  {
    const std::scoped_lock guard(ring_mutex_);
    report.copied_bytes = ring_ ? ring_->counters().copied_bytes.load() : copied_bytes_;
  }
  for (const auto& queue : queues_) {
    report.add(queue->counters());
    report.add_risk(queue->swap_risk());
  }
  report.add_risk(swap_risk_);
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

}  // namespace sluice
