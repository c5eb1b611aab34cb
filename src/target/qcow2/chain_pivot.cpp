// Chain: the device goes on in the backing file of the active image, to which all has been moved.
//
// No request is in flight from the last look until the new spec has been published. Then the image
// has durably dropped all that it had, and the backing file has it durably: whichever of them a
// recovery opens shows the same disk, and so does the image for ever if the backing file is in use.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <mutex>
#include <tuple>
#include <utility>

#include "core/log.hpp"
#include "core/step.hpp"
#include "spec/shown.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/chain_commit.hpp"
#include "target/tree_lock.hpp"

namespace sluice::qcow2 {
namespace {

// While requests go on, and while they wait.
constexpr std::chrono::seconds kMovingTime{8};
constexpr std::chrono::seconds kWaitingTime{4};
// The rest, which requests wait for.
constexpr uint64_t kRestBytes = 4 << 20;

}  // namespace

Task Chain::Commit::pivot(Request& request, ControlCall& call) {
  if (!begun_) {
    co_return call.fail(EINVAL, "the image is not being committed: begin with the verb commit");
  }
  if (base_image() == nullptr) {
    co_return call.fail(ENOTSUP,
                        fmt::format("{} is raw, and the device cannot go on in it: it stays"
                                    " in its image, which the job empties",
                                    shown(base_path_)));
  }
  if (!has_passed_) {
    co_return call.fail(EBUSY,
                        "much is not yet moved: wait until the job has ended, which sluice"
                        " inspect shows");
  }
  if (const Status checked = check_pivot(call); !checked.ok()) co_return checked;
  const std::string former = chain_.path_;
  const bool was_running = is_running_;
  Task ending = end_job(request);
  std::ignore = co_await ending;
  if (!begun_) co_return call.fail(EIO, "the commit has failed meanwhile: sluice stat says why");
  std::unique_ptr<Target> left;
  Task moving = move_rest(request, call, left);
  const Status moved = co_await moving;
  if (!moved.ok()) {
    if (was_running && begun_) {
      is_running_ = true;
      chain_.jobs_->start(*this, *request.ring);
    }
    co_return moved;
  }
  Task closing = chain_.close_left(request, std::move(left));
  std::ignore = co_await closing;
  log().info("{}: the device goes on in it, and no longer needs {}", shown(chain_.path_),
             shown(former));
  call.answer.set("image", chain_.path_);
  call.answer.set("former_image", former);
  co_return kOk;
}

Task Chain::Commit::move_rest(Request& request, ControlCall& call, std::unique_ptr<Target>& left) {
  const auto limit = Clock::now() + kMovingTime;
  uint64_t moved = UINT64_MAX;
  Status status;
  while (status.ok() && moved > kRestBytes) {
    Task passing = pass(request, limit, moved);
    status = co_await passing;
  }
  if (status.ok()) {
    RangeLock::Hold all(chain_.gate_, *request.ring, 0, 1, RangeLock::Mode::exclusive);
    co_await all;
    sluice::step("pivot begun");
    Task passing = pass(request, Clock::now() + kWaitingTime, moved);
    status = co_await passing;
    if (status.ok()) {
      Task going_on = go_on_below(request, call, left);
      co_return co_await going_on;
    }
  }
  if (status.error() == ETIMEDOUT) {
    co_return call.fail(EBUSY,
                        "the image is written faster than its data can be moved: try again when"
                        " there is less load");
  }
  Task giving_up = give_up_for(request, status);
  std::ignore = co_await giving_up;
  co_return call.fail(status.error(),
                      fmt::format("the data of {} cannot be moved: {}: the device"
                                  " stays in it",
                                  shown(chain_.path_), std::strerror(status.error())));
}

// Over the whole disk. ETIMEDOUT: not by `limit`.
Task Chain::Commit::pass(Request& request, Clock::time_point limit, uint64_t& moved) {
  moved = 0;
  const auto part = std::make_unique<LifeRequest>(*request.ring);
  for (uint64_t offset = 0; offset < chain_.geometry_.size_bytes;) {
    if (Clock::now() >= limit) co_return Status::from_errno(ETIMEDOUT);
    uint64_t bytes = 0;
    {
      Task moving = chain_.active().move_down(part->request, offset, offset, bytes);
      if (const Status status = co_await moving; !status.ok()) co_return status;
    }
    part->arena.reset();
    moved += bytes;
    moved_bytes_ += bytes;
  }
  co_return kOk;
}

// With no request in flight, and nothing left to move. `left`: the former image.
Task Chain::Commit::go_on_below(Request& request, ControlCall& call,
                                std::unique_ptr<Target>& left) {
  Request flush = plain(request, Op::flush);
  Task flushing = chain_.active().submit(flush);
  if (const Status flushed = co_await flushing; !flushed.ok()) {
    co_return call.fail(flushed.error(), fmt::format("{} cannot be flushed: the device stays in it",
                                                     shown(chain_.path_)));
  }
  sluice::step("image emptied");
  const Spec next = chain_.spec_in(base_path_);
  std::unique_ptr<Target>& top = chain_.changing_children().front();
  {
    const std::scoped_lock guard(tree_lock());
    left = std::exchange(top, chain_.active().take_backing());
  }
  if (const Status published = call.publish(next); !published.ok()) {
    const std::scoped_lock guard(tree_lock());
    static_cast<Qcow2Target&>(*left).put_backing(std::move(top));
    top = std::move(left);
    co_return published;
  }
  begun_ = false;
  {
    const std::scoped_lock guard(tree_lock());
    const std::string name = std::filesystem::path(base_path_).filename();
    chain_.active().set_name(fmt::format("image({})", printable(name, 64)));
  }
  chain_.go_on_in(next);
  sluice::step("pivot published");
  co_return kOk;
}

}  // namespace sluice::qcow2
