// Chain: everything that comes from the backing file is copied into the image, in the background.
#include "target/qcow2/chain_stream.hpp"

#include <fmt/format.h>

#include <cstring>
#include <tuple>
#include <utility>

#include "core/log.hpp"
#include "core/step.hpp"
#include "spec/shown.hpp"
#include "target/control_call.hpp"
#include "target/qcow2/chain_commit.hpp"
#include "target/qcow2/chain_verbs.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kStepBytes = 4 << 20;
constexpr int kStepLooks = 64;

Spec without_stream(Spec spec) {
  std::erase_if(spec.options, [](const auto& option) { return option.first == kStream; });
  return spec;
}

}  // namespace

Task Chain::control_stream(Request& request, ControlCall& call) {
  if (call.verb.flag("cancel")) {
    Task cancelling = cancel_stream(request, call);
    co_return co_await cancelling;
  }
  if (is_streaming_) {
    co_return call.fail(EBUSY, "the image is being streamed already: sluice inspect shows the job");
  }
  if (commit_->is_begun()) co_return commit_->refuse(call);
  const Header& header = active().header();
  if (header.backing_name.empty()) {
    co_return call.fail(
        EINVAL, fmt::format("{} has no backing file: nothing is to be copied", shown(path_)));
  }
  if (header.snapshots != 0) {
    co_return call.fail(EBUSY, fmt::format("{} has internal snapshots, which may need its backing"
                                           " file: delete them first",
                                           shown(path_)));
  }
  if (const Status noted = note_streaming(call, true); !noted.ok()) co_return noted;
  if (has_streamed_) {  // its last run is still listed
    Task ending = jobs_->end_some(request, {stream_.get()});
    std::ignore = co_await ending;
  }
  start_stream(*request.ring);
  call.answer.set("job", stream_->name());
  co_return kOk;
}

// For the next server, which goes on with it.
Status Chain::note_streaming(ControlCall& call, bool streams) {
  Spec next = without_stream(spec_);
  if (streams) next.set(kStream, true);
  if (next == spec_) return kOk;
  const Status published = call.publish(next);
  if (published.ok()) spec_ = std::move(next);
  return published;
}

// From the start: what is in the image already is only looked up.
void Chain::start_stream(Ring& ring) {
  streamed_to_ = 0;
  is_streaming_ = true;
  has_streamed_ = true;
  jobs_->start(*stream_, ring);
  log().info("{}: streaming from {} has begun", shown(path_),
             shown(active().header().backing_name));
}

// The chain has started.
void Chain::go_on_streaming(Ring& ring) {
  if (!spec_.flag(kStream) || active().header().backing_name.empty()) return;
  if (active().header().snapshots == 0) return start_stream(ring);
  log().warn("{}: it is not streamed: it has internal snapshots, which may need its backing file",
             shown(path_));
}

Task Chain::cancel_stream(Request& request, ControlCall& call) {
  if (!is_streaming_) co_return call.fail(EINVAL, "the image is not being streamed");
  if (const Status noted = note_streaming(call, false); !noted.ok()) co_return noted;
  Task ending = jobs_->end_some(request, {stream_.get()});
  std::ignore = co_await ending;
  has_streamed_ = false;
  if (!is_streaming_.exchange(false)) {
    co_return call.fail(EINVAL,
                        "the image has been streamed completely: its backing file is"
                        " closed");
  }
  log().info("{}: streaming was cancelled at {}", shown(path_), uint64_t{streamed_to_});
  call.answer.set("streamed_bytes", uint64_t{streamed_to_});
  co_return kOk;
}

Task Chain::stream_step(Request& request) {
  Task copying = copy_some(request);
  Status status = co_await copying;
  if (status.ok() && streamed_to_ >= geometry_.size_bytes) {
    Task ending = end_stream(request);
    status = co_await ending;
  }
  if (!status.ok()) {
    is_streaming_ = false;
    log().warn(
        "{}: streaming has ended at {}: {}: its backing file is still needed; begin again"
        " with the verb stream",
        shown(path_), uint64_t{streamed_to_}, std::strerror(status.error()));
  }
  co_return status;
}

Task Chain::copy_some(Request& request) {
  uint64_t copied_bytes = 0;
  for (int looks = 0; looks < kStepLooks && copied_bytes < kStepBytes; ++looks) {
    const uint64_t offset = streamed_to_;
    if (offset >= active().geometry().size_bytes || stream_->is_told_to_end()) break;
    uint64_t next = 0;
    uint64_t copied = 0;
    Task copying = active().copy_up(request, offset, next, copied);
    if (const Status status = co_await copying; !status.ok()) co_return status;
    copied_bytes += copied;
    streamed_to_ = next;
  }
  co_return kOk;
}

// With no request in flight, nothing can come between the last look and the new header.
Task Chain::end_stream(Request& request) {
  std::unique_ptr<Target> left;
  {
    RangeLock::Hold all(gate_, *request.ring, 0, 1, RangeLock::Mode::exclusive);
    co_await all;
    if (streamed_to_ < active().geometry().size_bytes) co_return kOk;  // it has grown
    step("streamed");
    Task leaving = active().leave_backing(request, left);
    if (const Status status = co_await leaving; !status.ok()) co_return status;
    step("backing file left");
  }
  Task closing = close_left(request, std::move(left));
  std::ignore = co_await closing;
  log().info("{}: all data is in the image, and its backing file is closed", shown(path_));
  is_streaming_ = false;  // another change may come
  stream_->finish();
  co_return kOk;
}

// For a device that goes on in another image.
Spec Chain::spec_in(const std::string& path) const {
  Spec next = without_stream(spec_);
  next.children.clear();
  next.set("file", path);
  return next;
}

// What is no longer a part of the tree.
Task Chain::close_left(Request& request, std::unique_ptr<Target> left) {
  Task forgetting = rings_.forget_files(request, registered_files_of(*left));
  std::ignore = co_await forgetting;
  StackLife life;
  life_.split_off(*left, life);
  LifeCall call{.deadline = LifeCall::Clock::now() + StackLife::kTimeout};
  Task stopping = life.stop_here(request, call);
  std::ignore = co_await stopping;  // it logs its errors
  co_return kOk;
}

}  // namespace sluice::qcow2
