#include "image/copy.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <thread>
#include <utility>

#include "image/copy_queue.hpp"

namespace sluice::image {
namespace {

constexpr uint64_t kReadyBytes = 64 << 20;  // of pieces, below which the next extents are found
constexpr uint16_t kReactorsMost = 8;

std::vector<RegisteredFile> files_of(const Stack& source, const Stack& target) {
  std::vector<RegisteredFile> files = source.registered_files();
  std::ranges::copy(target.registered_files(), std::back_inserter(files));
  return files;
}

}  // namespace

Result<std::unique_ptr<Copy>> Copy::begin(OpenDisk& source, OpenDisk& target, const Plan& plan) {
  try {
    std::unique_ptr<Copy> copy(new Copy(source, target, plan));
    if (auto started = copy->start(); !started) return std::unexpected(started.error());
    return copy;
  } catch (const std::bad_alloc&) {
    return sluice::fail(ENOMEM, fmt::format("no memory for {} buffers of {} bytes", plan.at_once,
                                            plan.pieces.piece_bytes));
  }
}

Copy::Copy(OpenDisk& source, OpenDisk& target, const Plan& plan)
    : source_(source),
      target_(target),
      plan_(plan),
      memory_(plan.at_once * plan.pieces.piece_bytes),
      ended_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      done_(plan.pieces.begin),
      pieces_(plan.pieces) {}

Copy::~Copy() {
  stop();
  reactors_.clear();
}

Result<void> Copy::start() {
  if (!ended_.valid()) return sluice::fail(errno, fmt::format("eventfd: {}", std::strerror(errno)));
  const uint32_t processors = std::max(1U, std::thread::hardware_concurrency());
  auto offload = Offload::create(std::max(2U, processors));
  if (!offload) return std::unexpected(offload.error());
  offload_ = std::move(*offload);
  const auto reactors = static_cast<uint16_t>(
      std::min<uint32_t>({processors, plan_.at_once, uint32_t{kReactorsMost}}));
  running_ = reactors;
  uint64_t buffer = 0;
  for (uint16_t i = 0; i < reactors; ++i) {
    const auto tags =
        static_cast<uint16_t>(plan_.at_once / reactors + (i < plan_.at_once % reactors ? 1 : 0));
    if (auto added = add_reactor(i, tags, buffer); !added) return added;
    buffer += tags;
  }
  for (CopyQueue* const each : queues_) each->go();
  return {};
}

// The buffers need not be registered: there may be a limit on locked memory.
Result<void> Copy::add_reactor(uint16_t number, uint16_t tags, uint64_t first_buffer) {
  const uint64_t bytes = plan_.pieces.piece_bytes;
  const auto memory = memory_.bytes().subspan(first_buffer * bytes, tags * bytes);
  const auto make = [this, number, tags, memory](
                        KernelRing& ring,
                        QueueListener& reactor) -> Result<std::unique_ptr<sluice::Queue>> {
    const bool registered = ring.register_memory(CopyQueue::kSlot, memory).has_value();
    auto queue = std::make_unique<CopyQueue>(
        CopyQueue::Setup{
            .number = number, .tags = tags, .memory = memory, .registered = registered},
        ring, *this, reactor);
    queues_.push_back(queue.get());
    return queue;
  };
  Reactor::Setup setup{.name = "sluice-copy",
                       .files = files_of(source_.stack(), target_.stack()),
                       .queues = {{.tags = tags, .slots = 1, .make = make}},
                       .stacks = {&source_.stack(), &target_.stack()},
                       .offload = offload_.get(),
                       .warm_up = false};
  ReactorListener& listener = *this;
  reactors_.push_back(std::make_unique<Reactor>(std::move(setup), listener));
  auto ready = reactors_.back()->prepare();
  return ready ? reactors_.back()->begin(-1) : ready;
}

void Copy::reactor_changed() {
  if (--running_ != 0) return;
  const uint64_t one = 1;
  std::ignore = ::write(ended_.number(), &one, sizeof(one));
}

void Copy::stop() {
  const std::lock_guard guard(mutex_);
  if (std::exchange(stopping_, true)) return;
  outcome_.stopped = true;
}

Copy::Outcome Copy::finish() {
  for (const auto& each : reactors_) each->join();
  const std::lock_guard guard(mutex_);
  outcome_.good_until = std::min(failed_at_, pieces_.taken_until());
  // It may have ended before anybody saw the request to stop.
  if (outcome_.good_until == plan_.pieces.end) outcome_.stopped = false;
  return outcome_;
}

// --- For the queues

Copy::Step Copy::next(CopyPiece& piece) {
  const std::lock_guard guard(mutex_);
  if (stopping_) return Step::end;
  const bool wants_more = pieces_.ready_bytes() < kReadyBytes && !pieces_.all_found();
  if (wants_more && !std::exchange(someone_looks_, true)) return Step::look;
  if (pieces_.take(piece)) return Step::copy;
  return pieces_.all_found() ? Step::end : Step::wait;
}

uint64_t Copy::found_until() const {
  const std::lock_guard guard(mutex_);
  return pieces_.found_until();
}

void Copy::found(std::span<const Extent> extents) {
  const std::lock_guard guard(mutex_);
  const uint64_t ready_before = pieces_.ready_bytes();
  const uint64_t before = pieces_.cut_until();
  pieces_.add(extents);
  const uint64_t work = pieces_.ready_bytes() - ready_before;
  done_.fetch_add(pieces_.cut_until() - before - work, std::memory_order_relaxed);
  someone_looks_ = false;
}

void Copy::end_piece(const CopyPiece& piece) {
  done_.fetch_add(piece.length, std::memory_order_relaxed);
}

// The first error is reported; whatever comes behind it ends.
void Copy::fail(uint64_t offset, Error error) {
  const std::lock_guard guard(mutex_);
  failed_at_ = std::min(failed_at_, offset);
  someone_looks_ = false;
  stopping_ = true;
  if (outcome_.error.error == 0) outcome_.error = std::move(error);
}

}  // namespace sluice::image
