// ThinTarget: lookups and reading.
#include <algorithm>

#include "core/child_requests.hpp"
#include "core/gather.hpp"
#include "ring/ring.hpp"
#include "target/thin/thin_target.hpp"

namespace sluice::thin {
namespace {

constexpr size_t kRunsAtOnce = 16;

}  // namespace

// False: not all of its mappings are in the cache.
bool ThinTarget::try_look_up(uint64_t offset, uint64_t length, Run& run) const {
  uint64_t block = offset / block_bytes_;
  const uint64_t last = (offset + length - 1) / block_bytes_;
  const auto first = pool_->find(volume_, block);
  if (!first) return false;
  run.place = *first;
  run.offset = first->data_block() * block_bytes_ + offset % block_bytes_;
  uint64_t follows = first->data_block() + 1;
  while (block < last) {
    const auto next = pool_->find(volume_, block + 1);
    if (!next || next->is_mapped() != first->is_mapped()) break;
    if (first->is_mapped() &&
        (next->data_block() != follows || next->is_shared() != first->is_shared())) {
      break;
    }
    ++block;
    ++follows;
  }
  run.length = std::min(length, (block + 1) * block_bytes_ - offset);
  return true;
}

// The first run of a range.
Task ThinTarget::look_up(Request& request, uint64_t offset, uint64_t length, Run& run) {
  if (try_look_up(offset, length, run)) return kOk;
  return look_up_slowly(request, offset, length, run);
}

Task ThinTarget::look_up_slowly(Request& request, uint64_t offset, uint64_t length, Run& run) {
  MappingCache::Group group;
  const uint64_t block = offset / block_bytes_;
  Task loading = pool_->load(request, volume_, block, group);
  if (const Status status = co_await loading; !status.ok()) co_return status;
  if (try_look_up(offset, length, run)) co_return kOk;
  // Others have taken its place in the cache already.
  const Place place = group[block % MappingCache::kGroup];
  run = {.length = std::min(length, block_bytes_ - offset % block_bytes_),
         .place = place,
         .offset = place.data_block() * block_bytes_ + offset % block_bytes_};
  co_return kOk;
}

Task ThinTarget::read(Request& request) {
  RangeLock::Hold hold(volume_.ranges(), *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  Run run;
  Task looking = look_up(request, request.offset, request.length, run);
  if (const Status found = co_await looking; !found.ok()) co_return found;
  Task reading = run.length == request.length ? read_run(request, run) : read_runs(request, run);
  co_return co_await reading;
}

Task ThinTarget::read_runs(Request& request, Run run) {
  for (uint64_t done = 0; done < request.length;) {
    ChildRequests parts(request, kRunsAtOnce);
    Gather children(request, kRunsAtOnce);
    Status found;
    for (size_t i = 0; i < kRunsAtOnce && done < request.length; ++i) {
      if (run.length == 0) {
        Task next = look_up(request, request.offset + done, request.length - done, run);
        found = co_await next;
        if (!found.ok()) break;
      }
      View part = request.data.slice(static_cast<uint32_t>(done), static_cast<uint32_t>(run.length),
                                     *request.arena);
      Request& reading = parts.add(request.child(request.offset + done, std::move(part)));
      done += run.length;
      children.add(read_run(reading, run));
      run.length = 0;
    }
    const Status read = co_await children;
    if (!read.ok()) co_return read;
    if (!found.ok()) co_return found;
  }
  co_return kOk;
}

Task ThinTarget::read_run(Request& request, const Run& run) {
  if (run.place.is_mapped()) return forward(request, pool_->data(), run.offset);
  return read_origin(request);
}

// What is not mapped: zeroes, or what an external origin has there. It may be smaller (T6.8).
Task ThinTarget::read_origin(Request& request) {
  const uint64_t there =
      origin_ == nullptr ? 0
                         : origin_->geometry().size_bytes -
                               std::min<uint64_t>(origin_->geometry().size_bytes, request.offset);
  if (there >= request.length) {
    Task reading = forward(request, *origin_, request.offset);
    co_return co_await reading;
  }
  if (there != 0) {
    Request first = request.child(
        request.offset, request.data.slice(0, static_cast<uint32_t>(there), *request.arena));
    Task reading = origin_->submit(first);
    if (const Status status = co_await reading; !status.ok()) co_return status;
  }
  auto zeroing = request.ring->zero(request.data.slice(
      static_cast<uint32_t>(there), static_cast<uint32_t>(request.length - there), *request.arena));
  co_return co_await zeroing;
}

}  // namespace sluice::thin
