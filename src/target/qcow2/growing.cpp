// Qcow2Target: growth.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <system_error>

#include "core/private_loan.hpp"
#include "target/life/control_reactor.hpp"
#include "target/life/stack_life.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/change.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {
namespace {

alignas(4096) constexpr std::array<std::byte, 64 << 10> kZeroes{};
constexpr std::chrono::hours kPreallocationTimeout{24 * 30};

}  // namespace

Result<uint64_t> Qcow2Target::do_resize(std::optional<uint64_t> wanted) {
  const uint64_t now = geometry_.size_bytes;
  if (!wanted || *wanted == now) return now;
  if (geometry_.read_only || control_ == nullptr) {
    return fail(EROFS, "the image is read-only: add it for writing to change its size");
  }
  if (image_.header().version == 2 && image_.header().snapshots != 0) {
    return fail(EOPNOTSUPP,
                "an image of version 2 with snapshots cannot grow, as these do not record their"
                " size: delete them, or convert the image with sluice amend -o compat=1.1");
  }
  if (image_.rules().external) {
    if (auto grown = data().resize(*wanted); !grown) return grown;
  }
  const uint64_t size = *wanted;
  const Status grown =
      control_->perform_or_leave([this, size](Request& request) { return grow(request, size); },
                                 ControlReactor::Clock::now() + StackLife::kTimeout);
  if (!grown.ok()) {
    return fail(grown.error(), fmt::format("the image cannot grow to {} bytes: {}", size,
                                           std::generic_category().message(grown.error())));
  }
  return size;
}

// What clients see of the new part is zeroes, which are durable before the size is.
Task Qcow2Target::grow(Request& request, uint64_t size_bytes) {
  const uint64_t old = geometry_.size_bytes;
  const Status may_grow = image_.bitmap_store().may_grow(size_bytes);
  if (!may_grow.ok()) co_return may_grow;
  {
    RangeLock::Hold all(ranges_, *request.ring, 0, UINT64_MAX / 2, RangeLock::Mode::exclusive);
    co_await all;
    Task growing = image_.grow_l1(request, size_bytes);
    if (const Status grown = co_await growing; !grown.ok()) co_return grown;
  }
  Request rest = plain(request, Op::write_zeroes, old, 0);
  const uint64_t cluster_end = (old + cluster_bytes() - 1) & ~(cluster_bytes() - 1);
  rest.length = std::min(size_bytes, cluster_end) - old;
  Task clearing = clear_new(rest);
  if (const Status cleared = co_await clearing; !cleared.ok()) co_return cleared;
  const uint64_t below = backing_ == nullptr ? 0 : uint64_t{backing_->geometry().size_bytes};
  const auto up = [mask = cluster_bytes() - 1](uint64_t end) { return (end + mask) & ~mask; };
  const bool by_entry = image_.header().version >= 3 && !image_.rules().external;
  const uint64_t visible = std::min(by_entry ? up(size_bytes) : size_bytes, up(below));
  if (visible > cluster_end) {
    Request more = plain(request, Op::write_zeroes, cluster_end, visible - cluster_end);
    Task hiding = by_entry ? unmap(more) : clear_new(more);
    if (const Status hidden = co_await hiding; !hidden.ok()) co_return hidden;
  }
  Task flushing = image_.flush(request);
  if (const Status flushed = co_await flushing; !flushed.ok()) co_return flushed;
  // Last, so that the new part, which only reads as it did before, is not dirty.
  RangeLock::Hold all(ranges_, *request.ring, 0, UINT64_MAX / 2, RangeLock::Mode::exclusive);
  co_await all;
  const Status bitmaps_grown = image_.bitmap_store().grow(size_bytes);
  if (!bitmaps_grown.ok()) co_return bitmaps_grown;
  Task storing = image_.store_size(request, size_bytes);
  co_return co_await storing;
}

// Zeroes as data, behind the present end of the disk; where there is nothing, there are zeroes. Not
// in an external file: a write in flight, which maps the last cluster, clears it up to the present
// end of the disk only, and the file may have anything behind that.
Task Qcow2Target::clear_new(Request& request) {
  Run run;
  for (uint64_t done = 0; done < request.length; done += run.length) {
    const uint64_t offset = request.offset + done;
    Task looking = image_.look_up(request, offset, request.length - done, run);
    if (const Status found = co_await looking; !found.ok()) co_return found;
    run.length = std::min<uint64_t>(run.length, kZeroes.size());
    const bool is_zero =
        run.kind == Kind::zero || (run.kind == Kind::unallocated && backing_ == nullptr);
    if (is_zero && !image_.rules().external) continue;
    // Lent as a source: never written to.
    PrivateLoan loan(Direction::source, {const_cast<std::byte*>(kZeroes.data()), run.length});
    Request writing = transfer(request, Op::write, offset, loan.view());
    Task written = write(writing);
    if (const Status status = co_await written; !status.ok()) co_return status;
  }
  co_return kOk;
}

// --- Preallocation

Status Qcow2Target::preallocate(uint64_t offset, uint64_t end, Preallocation how) {
  if (control_ == nullptr) return Status::from_errno(EROFS);
  const auto mapping = [this, offset, end, how](Request& request) {
    return how == Preallocation::full ? fill_new(request, offset, end)
                                      : map_new(request, offset, end, how);
  };
  return control_->perform(mapping, ControlReactor::Clock::now() + kPreallocationTimeout);
}

// With zeroes as data.
Task Qcow2Target::fill_new(Request& request, uint64_t offset, uint64_t end) {
  while (offset < end) {
    const uint64_t length = std::min<uint64_t>(end - offset, kZeroes.size());
    PrivateLoan loan(Direction::source, {const_cast<std::byte*>(kZeroes.data()), length});
    Request writing = transfer(request, Op::write, offset, loan.view());
    Task written = write(writing);
    if (const Status status = co_await written; !status.ok()) co_return status;
    offset += length;
  }
  Task flushing = image_.flush(request);
  co_return co_await flushing;
}

// The whole clusters from `offset` on, which nothing is mapped to.
Task Qcow2Target::map_new(Request& request, uint64_t offset, uint64_t end, Preallocation how) {
  const uint64_t mask = cluster_bytes() - 1;
  offset = (offset + mask) & ~mask;
  end = (end + mask) & ~mask;
  while (offset < end) {
    const uint64_t clusters = std::min({image_.clusters_together(offset), uint64_t{Change::kMost},
                                        (end - offset) / cluster_bytes()});
    Task step = map_step(request, offset, clusters, how);
    if (const Status status = co_await step; !status.ok()) co_return status;
    offset += clusters * cluster_bytes();
  }
  Task flushing = image_.flush(request);
  co_return co_await flushing;
}

Task Qcow2Target::map_step(Request& request, uint64_t offset, uint64_t clusters,
                           Preallocation how) {
  const uint64_t length = clusters * cluster_bytes();
  RangeLock::Hold hold(ranges_, *request.ring, offset, length, RangeLock::Mode::exclusive);
  co_await hold;
  Change change{.offset = offset, .count = clusters};
  Task preparing = image_.prepare_table(request, offset);
  if (const Status status = co_await preparing; !status.ok()) co_return status;
  Task loading = image_.load_entries(request, offset, change.old_entries());
  if (const Status status = co_await loading; !status.ok()) co_return status;
  for (size_t i = 0; i < change.count; ++i) {
    plan_cluster(change, i, offset, offset + length, image_.rules());
  }
  BlockVersion stored;
  Task allocating = allocate(request, change);
  Status status = co_await allocating;
  for (size_t i = 0; i < change.taken_count && status.ok(); ++i) {
    const uint64_t bytes = change.taken[i].count * cluster_bytes();
    Request clearing = plain(request, Op::write_zeroes, change.taken[i].offset, bytes);
    clearing.may_unmap = how == Preallocation::metadata;
    Task cleared = data().submit(clearing);
    status = co_await cleared;
  }
  if (status.ok()) {
    Task storing =
        image_.store_entries(request, offset, change.new_entries(), change.refcounts(), stored);
    status = co_await storing;
  }
  if (!status.ok()) {
    for (size_t i = 0; i < change.taken_count; ++i) image_.clusters().give_back(change.taken[i]);
  }
  co_return status;
}

}  // namespace sluice::qcow2
