// Image: growth of the disk.
#include <algorithm>

#include "core/big_endian.hpp"
#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "target/qcow2/image.hpp"
#include "target/qcow2/image_request.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kSizePlace = 24;  // in the header
constexpr size_t kL1EntriesPlace = 36;
constexpr size_t kL1OffsetPlace = 40;

}  // namespace

// The new table is written when all that it leads to is durable; the old one stays as it is.
Task Image::grow_l1(Request& request, uint64_t size_bytes) {
  const uint64_t span = header_.table_span_bytes();
  const uint64_t needed = (size_bytes + span - 1) / span;
  if (needed <= l1_.size()) co_return kOk;
  const uint64_t cluster = header_.cluster_bytes();
  const uint64_t clusters = (needed * sizeof(uint64_t) + cluster - 1) / cluster;
  if (clusters * cluster > kL1BytesMax) co_return Status::from_errno(EFBIG);
  Allocation place;
  Task allocating = clusters_->allocate_run(request, clusters, place);
  if (const Status allocated = co_await allocating; !allocated.ok()) co_return allocated;
  Task flushing = flush(request);
  if (const Status flushed = co_await flushing; !flushed.ok()) co_return flushed;

  const Buffer memory(clusters * cluster);
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
  Task ordering = cache_->order_after_data(request, header);
  if (const Status ordered = co_await ordering; !ordered.ok()) co_return ordered;
  // In one sector.
  store_big_endian(header.bytes(), kL1EntriesPlace, static_cast<uint32_t>(needed));
  store_big_endian(header.bytes(), kL1OffsetPlace, place.offset);
  const BlockVersion linked = header.publish();
  Task waiting = cache_->make_durable(request, linked);
  if (const Status durable = co_await waiting; !durable.ok()) co_return durable;

  metadata_->add(place.offset, clusters * cluster);
  const uint64_t old_clusters = (l1_.size() * sizeof(uint64_t) + cluster - 1) / cluster;
  clusters_->retire(header_.l1_offset, old_clusters);
  l1_.swap(grown);
  header_.l1_entries = static_cast<uint32_t>(needed);
  header_.l1_offset = place.offset;
  co_return kOk;
}

Task Image::store_size(Request& request, uint64_t size_bytes) {
  WritePin header;
  Task taking = cache_->write(request, 0, header);
  if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  store_big_endian(header.bytes(), kSizePlace, size_bytes);
  const BlockVersion stored = header.publish();
  Task waiting = cache_->make_durable(request, stored);
  const Status durable = co_await waiting;
  if (durable.ok()) header_.size_bytes = size_bytes;
  co_return durable;
}

}  // namespace sluice::qcow2
