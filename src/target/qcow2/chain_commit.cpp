// Chain: what the active image has itself is moved to its backing file, in the background.
#include "target/qcow2/chain_commit.hpp"

#include <fmt/format.h>

#include <cstring>
#include <tuple>
#include <utility>

#include "core/events.hpp"
#include "core/log.hpp"
#include "core/step.hpp"
#include "spec/shown.hpp"
#include "target/plain_request.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kCommitStepBytes = 4 << 20;
constexpr int kCommitStepLooks = 64;
// A pass that moves no more is the last one of the job.
constexpr uint64_t kLittleBytes = 4 << 20;

}  // namespace

Task Chain::Commit::control(Request& request, ControlCall& call) {
  const bool cancels = call.verb.flag("cancel");
  if (!call.verb.flag("pivot")) return cancels ? cancel(request, call) : begin(request, call);
  if (cancels) return call.fail(EINVAL, "pivot and cancel exclude each other: give one of them");
  return pivot(request, call);
}

Status Chain::Commit::refuse(ControlCall& call) const {
  return call.fail(EBUSY,
                   "the image is being committed: end that first with commit pivot or commit"
                   " cancel");
}

bool Chain::Commit::is_failing() const {
  if (!begun_) return false;
  const Qcow2Target* const image = base_image();
  return image != nullptr && image->is_distrusted();
}

Health Chain::Commit::health() const {
  Health health;
  if (const int error = failure_; error != 0) {
    health.state = HealthState::degraded;
    health.reason = fmt::format("the commit has failed: {}", std::strerror(error));
  }
  if (begun_) {
    health.numbers = {
        {.name = "committed_bytes", .value = moved_bytes_},
        {.name = "commit_position_bytes", .value = position_, .kind = HealthNumber::Kind::gauge}};
  }
  return health;
}

// --- Begin and end

// Again, once the job has ended: for what was written since.
Task Chain::Commit::begin(Request& request, ControlCall& call) {
  if (is_running_) {
    co_return call.fail(EBUSY,
                        "the image is being committed already: sluice inspect shows the job");
  }
  // Its last run is still listed, and may be closing the backing file.
  Task ending = end_job(request);
  std::ignore = co_await ending;
  if (!begun_) {
    if (const Status checked = check(call); !checked.ok()) co_return checked;
    Task opening = open_base(request, call);
    if (const Status opened = co_await opening; !opened.ok()) co_return opened;
    moved_bytes_ = 0;
    begun_ = true;
  }
  failure_ = 0;
  has_passed_ = false;
  pass_bytes_ = 0;
  position_ = 0;
  is_running_ = true;
  chain_.jobs_->start(*this, *request.ring);
  log().info("{}: committing to {} has begun", shown(chain_.path_), shown(base_path_));
  call.answer.set("job", name());
  call.answer.set("backing_file", base_path_);
  call.answer.set("can_pivot", base_image() != nullptr);
  co_return kOk;
}

// Also after a failure, of which nothing is said any more then.
Task Chain::Commit::cancel(Request& request, ControlCall& call) {
  if (!begun_) {
    if (failure_.exchange(0) != 0) co_return kOk;
    co_return call.fail(EINVAL, "the image is not being committed");
  }
  Task ending = end_job(request);
  std::ignore = co_await ending;
  if (begun_) {
    Task closing = close_base(request);
    std::ignore = co_await closing;
  }
  log().info("{}: the commit was cancelled", shown(chain_.path_));
  call.answer.set("committed_bytes", uint64_t{moved_bytes_});
  co_return kOk;
}

Task Chain::Commit::end_job(Request& request) {
  Task ending = chain_.jobs_->end_some(request, {this});
  std::ignore = co_await ending;
  is_running_ = false;
  co_return kOk;
}

Task Chain::Commit::give_up(Request& request) {
  is_running_ = false;
  if (!begun_) co_return kOk;
  log().info("{}: the commit has ended with its server: begin again with the verb commit",
             shown(chain_.path_));
  Task closing = close_base(request);
  co_return co_await closing;
}

// --- The job

Task Chain::Commit::step(Request& request) {
  Task moving = move_some(request);
  Status status = co_await moving;
  if (status.ok() && position_ >= chain_.geometry_.size_bytes) {
    const bool was_last = std::exchange(pass_bytes_, 0) <= kLittleBytes;
    has_passed_ = true;
    position_ = 0;
    if (was_last) {
      Task ending = end_passes(request);
      status = co_await ending;
    }
  }
  if (!status.ok()) {
    Task giving_up = give_up_for(request, status);
    std::ignore = co_await giving_up;
  }
  co_return status;
}

// Then what the image no longer uses is free.
Task Chain::Commit::move_some(Request& request) {
  uint64_t moved_bytes = 0;
  for (int looks = 0; looks < kCommitStepLooks && moved_bytes < kCommitStepBytes; ++looks) {
    if (position_ >= chain_.geometry_.size_bytes || is_told_to_end()) break;
    uint64_t next = 0;
    uint64_t moved = 0;
    Task moving = chain_.active().move_down(request, position_, next, moved);
    if (const Status status = co_await moving; !status.ok()) co_return status;
    position_ = next;
    moved_bytes += moved;
    pass_bytes_ += moved;
    moved_bytes_ += moved;
    sluice::step("some committed");
  }
  if (moved_bytes == 0) co_return kOk;
  Request flush = plain(request, Op::flush);
  Task flushing = chain_.active().submit(flush);
  co_return co_await flushing;
}

// The device cannot go on in a raw file: it stays in the image.
Task Chain::Commit::end_passes(Request& request) {
  is_running_ = false;
  finish();
  if (base_image() != nullptr) {
    log().info(
        "{}: its data is in {}, but for what is written now: go on there with the verb"
        " commit pivot",
        shown(chain_.path_), shown(base_path_));
    co_return kOk;
  }
  Task closing = close_base(request);
  std::ignore = co_await closing;
  log().info("{}: its data is in {}; the device stays in it, as that is raw", shown(chain_.path_),
             shown(base_path_));
  co_return kOk;
}

// Nothing is lost: what was not moved, or is not known to be durable below, is where it was.
Task Chain::Commit::give_up_for(Request& request, Status status) {
  is_running_ = false;
  Task closing = close_base(request);
  std::ignore = co_await closing;
  failure_ = status.error();
  log().warn(
      "{}: the commit has ended: {}: what was not moved stays in it; begin again with the"
      " verb commit",
      shown(chain_.path_), std::strerror(status.error()));
  emit({.kind = kHealthChanged, .text = "the commit has failed", .target = chain_.name()});
  co_return kOk;
}

}  // namespace sluice::qcow2
