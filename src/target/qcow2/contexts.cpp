// Qcow2Target: what block status says of dirty bitmaps, and of the layers of the chain.
#include <algorithm>

#include "target/plain_request.hpp"
#include "target/qcow2/bitmap_verbs.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {
namespace {

constexpr std::string_view kDepthContext = "qemu:allocation-depth";

}  // namespace

std::vector<std::string> Qcow2Target::contexts() const {
  std::vector<std::string> contexts = image_.bitmaps().consistent_names();
  for (std::string& each : contexts) each.insert(0, kBitmapContext);
  contexts.emplace(contexts.begin(), kDepthContext);
  return contexts;
}

Task Qcow2Target::context_status(Request& request, const std::string& context, StatusRuns& found) {
  if (context == kDepthContext) return find_depth(request, found);
  if (context.starts_with(kBitmapContext)) return find_dirty(request, context, found);
  return Status::from_errno(ENOENT);
}

Task Qcow2Target::find_dirty(Request& request, const std::string& context, StatusRuns& found) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  const Bitmap* const bitmap =
      image_.bitmaps().find(std::string_view(context).substr(kBitmapContext.size()));
  if (bitmap == nullptr || bitmap->inconsistent()) co_return Status::from_errno(ENOENT);
  while (!found.complete()) {
    const uint64_t done = found.covered_bytes();
    bool dirty = false;
    const uint64_t length = bitmap->first_run(request.offset + done, request.length - done, dirty);
    if (!found.add(length, dirty ? kBitmapDirty : 0)) break;
  }
  co_return kOk;
}

// 1: allocated in this image; 2 in its backing file, and so on; 0: nowhere.
Task Qcow2Target::find_depth(Request& request, StatusRuns& found) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  bool added = true;
  while (added && !found.complete()) {
    const uint64_t offset = request.offset + found.covered_bytes();
    Run run;
    Task looking = image_.look_up(request, offset, request.length - found.covered_bytes(), run);
    if (const Status status = co_await looking; !status.ok()) co_return status;
    if (run.kind != Kind::unallocated) {
      added = found.add(run.length, 1);
      continue;
    }
    StatusRuns below(run.length);
    Task finding = find_depth_below(request, offset, below);
    if (const Status status = co_await finding; !status.ok()) co_return status;
    for (const StatusRun& each : below.list()) {
      added = added && found.add(each.length, each.flags == 0 ? 0 : each.flags + 1);
    }
  }
  co_return kOk;
}

// As the backing file counts. What is behind its end is its zeroes, as in QEMU; so is every hole of
// a raw file.
Task Qcow2Target::find_depth_below(Request& request, uint64_t offset, StatusRuns& found) {
  const uint64_t size = backing_ == nullptr ? 0 : uint64_t{backing_->geometry().size_bytes};
  StatusContexts* const contexts = backing_ == nullptr ? nullptr : backing_->status_contexts();
  if (contexts == nullptr || offset >= size) {
    found.add(found.range_bytes(), backing_ == nullptr ? 0 : 1);
    co_return kOk;
  }
  const uint64_t length = std::min(found.range_bytes(), size - offset);
  StatusRuns below(length);
  Request asking = plain(request, Op::read, offset, length);
  const std::string context(kDepthContext);
  Task finding = contexts->context_status(asking, context, below);
  if (const Status status = co_await finding; !status.ok()) co_return status;
  for (const StatusRun& each : below.list()) {
    if (!found.add(each.length, each.flags)) break;
  }
  co_return kOk;
}

}  // namespace sluice::qcow2
