// Qcow2Target: changes of its place in a chain of images.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/buffer.hpp"
#include "core/extents.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "core/zero.hpp"
#include "spec/shown.hpp"
#include "target/file/file_lock.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "target/tree_lock.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kCopyBytes = 1 << 20;

}  // namespace

// --- Copying up

Task Qcow2Target::copy_up(Request& request, uint64_t offset, uint64_t& next, uint64_t& copied) {
  copied = 0;
  uint64_t length = 0;
  bool is_below = false;
  Task finding = find_to_copy(request, offset, length, is_below);
  if (const Status found = co_await finding; !found.ok()) co_return found;
  if (is_below) {
    bool written = false;
    Task copying = copy_part(request, offset, length, written);
    if (const Status done = co_await copying; !done.ok()) co_return done;
    if (written) copied = length;
  }
  next = offset + length;
  co_return kOk;
}

// The first part that is alike. A request may change that at once.
Task Qcow2Target::find_to_copy(Request& request, uint64_t offset, uint64_t& length,
                               bool& is_below) {
  const uint64_t size = geometry_.size_bytes;
  RangeLock::Hold hold(ranges_, *request.ring, offset, size - offset, RangeLock::Mode::shared);
  co_await hold;
  Run run;
  Task looking = image_.look_up(request, offset, size - offset, run);
  if (const Status status = co_await looking; !status.ok()) co_return status;
  length = run.length;
  if (run.kind != Kind::unallocated) co_return kOk;
  Extents below(run.length, Detail::content);
  Task finding = find_below(request, offset, kNothingExtent, below);
  if (const Status status = co_await finding; !status.ok()) co_return status;
  const Extent& first = below.list().front();
  length = first.length;
  is_below = !first.zero;
  co_return kOk;
}

// As a write of what is there. `written` stays false if that is nothing but zeroes, or if a request
// has come first.
Task Qcow2Target::copy_part(Request& request, uint64_t offset, uint64_t& length, bool& written) {
  length = std::min({length, step_bytes(offset), kCopyBytes});
  const uint64_t mask = cluster_bytes() - 1;
  const uint64_t begin = offset & ~mask;
  const uint64_t end = (offset + length + mask) & ~mask;
  RangeLock::Hold hold(ranges_, *request.ring, begin, end - begin, RangeLock::Mode::exclusive);
  co_await hold;
  Run run;
  Task looking = image_.look_up(request, offset, length, run);
  if (const Status status = co_await looking; !status.ok()) co_return status;
  length = std::min(length, run.length);
  if (run.kind != Kind::unallocated) co_return kOk;
  const Buffer memory(length);
  {
    PrivateLoan loan(Direction::destination, memory.bytes());
    Request reading = transfer(request, Op::read, offset, loan.view());
    Task read = read_runs(reading, {});
    if (const Status status = co_await read; !status.ok()) co_return status;
  }
  if (is_all_zero(memory.bytes())) co_return kOk;
  written = true;
  PrivateLoan loan(Direction::source, memory.bytes());
  Request writing = transfer(request, Op::write, offset, loan.view());
  Task changing = change_clusters(writing);
  co_return co_await changing;
}

// --- The tree

Task Qcow2Target::leave_backing(Request& request, std::unique_ptr<Target>& left) {
  if (image_.header().snapshots != 0) co_return Status::from_errno(EBUSY);
  // What was copied before the name is gone.
  Task flushing = image_.flush(request);
  if (const Status flushed = co_await flushing; !flushed.ok()) co_return flushed;
  Task forgetting = image_.forget_backing(request);
  if (const Status forgotten = co_await forgetting; !forgotten.ok()) co_return forgotten;
  const std::scoped_lock guard(tree_lock());
  left = take_backing();
  co_return kOk;
}

std::unique_ptr<Target> Qcow2Target::take_backing() {
  std::unique_ptr<Target> taken = std::move(changing_children().back());
  changing_children().pop_back();
  backing_ = nullptr;
  return taken;
}

void Qcow2Target::put_backing(std::unique_ptr<Target> below) {
  backing_ = below.get();
  changing_children().push_back(std::move(below));
}

Task Qcow2Target::freeze(Request& request) {
  Task freezing = image_.freeze(request);
  const Status frozen = co_await freezing;
  if (!frozen.ok()) {
    log().warn("{}: what it no longer uses is not all free: sluice check finds it as leaks ({})",
               name(), std::strerror(frozen.error()));
    // What could not be written must not be written later.
    Task reloading = image_.reload(request);
    if (const Status reloaded = co_await reloading; !reloaded.ok()) {
      log().error("{}: its tables cannot be read again: {}", name(),
                  std::strerror(reloaded.error()));
    }
  }
  is_distrusted_ = false;
  geometry_.read_only = true;
  geometry_.can_discard = false;
  geometry_.can_write_zeroes = false;
  geometry_.volatile_cache = false;
  std::vector<RegisteredFile> files = registered_files_of(child(0));
  if (data_ != &child(0)) {
    const auto more = registered_files_of(*data_);
    files.insert(files.end(), more.begin(), more.end());
  }
  for (const RegisteredFile& file : files) lock_for_reading_only(file.descriptor);
  co_return kOk;
}

}  // namespace sluice::qcow2
