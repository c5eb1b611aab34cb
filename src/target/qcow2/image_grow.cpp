// Image: growth of the disk.
#include <algorithm>
#include <tuple>

#include "core/big_endian.hpp"
#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/image.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kSizePlace = 24;  // in the header
constexpr size_t kL1EntriesPlace = 36;
constexpr size_t kL1OffsetPlace = 40;

}  // namespace

// The new table is written when all that it leads to is durable; the old one stays as it is. Once
// the header has been changed there is no way back, durable or not: see settle_l1().
Task Image::grow_l1(Request& request, uint64_t size_bytes) {
  const uint64_t span = header_.table_span_bytes();
  const uint64_t needed = (size_bytes + span - 1) / span;
  if (needed <= l1_.size()) co_return kOk;
  const uint64_t cluster = header_.cluster_bytes();
  const uint64_t clusters = (needed * sizeof(uint64_t) + cluster - 1) / cluster;
  if (clusters * cluster > kL1BytesMax) co_return Status::from_errno(EFBIG);
  Task settling = settle_l1(request);
  if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  Allocation place;
  Task allocating = clusters_->allocate_run(request, clusters, place);
  if (const Status allocated = co_await allocating; !allocated.ok()) co_return allocated;
  bool linked = false;
  Task moving = move_l1(request, needed, place, linked);
  const Status moved = co_await moving;
  if (!linked) clusters_->give_back(place);
  if (!moved.ok()) co_return moved;
  Task linking = settle_l1(request);
  co_return co_await linking;
}

// `linked`: the header leads there.
Task Image::move_l1(Request& request, uint64_t needed, const Allocation& place, bool& linked) {
  const uint64_t cluster = header_.cluster_bytes();
  Task flushing = flush(request);
  if (const Status flushed = co_await flushing; !flushed.ok()) co_return flushed;

  const Buffer memory(place.count * cluster);
  std::ranges::fill(memory.bytes(), std::byte{0});
  Table grown(needed);
  for (size_t i = 0; i < l1_.size(); ++i) {
    const uint64_t entry = l1_[i].load(std::memory_order_relaxed);
    store_big_endian(memory.bytes(), i * sizeof(uint64_t), entry);
    grown[i].store(entry, std::memory_order_relaxed);
  }
  PrivateLoan loan(Direction::source, memory.bytes());
  Request writing = transfer(request, Op::write, place.offset, loan.view());
  Task served = storage_.submit(writing);
  if (const Status written = co_await served; !written.ok()) co_return written;

  WritePin header;
  Task taking = cache_->write(request, 0, header);
  if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  Task ordering = cache_->order_after_child(request, header);
  if (const Status ordered = co_await ordering; !ordered.ok()) co_return ordered;
  // In one sector.
  store_big_endian(header.bytes(), kL1EntriesPlace, static_cast<uint32_t>(needed));
  store_big_endian(header.bytes(), kL1OffsetPlace, place.offset);
  switched_ = header.publish();
  linked = true;
  metadata_->add(place.offset, place.count * cluster);
  const uint64_t old_clusters = (l1_.size() * sizeof(uint64_t) + cluster - 1) / cluster;
  clusters_->retire(header_.l1_offset, old_clusters);
  l1_.swap(grown);
  header_.l1_entries = static_cast<uint32_t>(needed);
  header_.l1_offset = place.offset;
  co_return kOk;
}

// Until the disk leads to the new L1 table, no table may be replaced: what the old one leads to is
// still in use.
Task Image::settle_l1(Request& request) {
  if (switched_.slot == nullptr) co_return kOk;
  try_again();
  Task waiting = cache_->make_durable(request, switched_);
  const Status durable = co_await waiting;
  if (durable.ok()) switched_ = {};
  co_return durable;
}

// After a failure a later flush writes the header: with the size that it had.
Task Image::store_size(Request& request, uint64_t size_bytes) {
  BlockVersion stored;
  Task publishing = publish_size(request, size_bytes, stored);
  if (const Status published = co_await publishing; !published.ok()) co_return published;
  Task waiting = cache_->make_durable(request, stored);
  const Status durable = co_await waiting;
  if (durable.ok()) {
    header_.size_bytes = size_bytes;
  } else {
    Task restoring = publish_size(request, header_.size_bytes, stored);
    std::ignore = co_await restoring;
  }
  co_return durable;
}

Task Image::publish_size(Request& request, uint64_t size_bytes, BlockVersion& stored) {
  WritePin header;
  Task taking = cache_->write(request, 0, header);
  if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  store_big_endian(header.bytes(), kSizePlace, size_bytes);
  stored = header.publish();
  co_return kOk;
}

}  // namespace sluice::qcow2
