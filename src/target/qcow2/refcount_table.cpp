// Clusters: growth of the refcount table.
#include <algorithm>
#include <cstring>

#include "core/big_endian.hpp"
#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/clusters.hpp"
#include "target/qcow2/refcount_block.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kTableOffsetPlace = 48;  // in the header
constexpr size_t kTableClustersPlace = 56;

}  // namespace

// The new table lies in the first clusters that the old one cannot count, behind the refcount
// blocks for these clusters. Nothing leads there before the header does. Once the header has been
// changed there is no way back, durable or not: refill() waits until it is.
Task Clusters::grow_table(Request& request, uint64_t index) {
  const uint64_t entries_per_cluster = cluster_bytes_ / sizeof(uint64_t);
  const uint64_t old_entries = table_.size();
  const uint64_t first = old_entries * per_block_;
  uint64_t clusters = 0;
  uint64_t blocks = 1;
  for (;;) {  // more blocks may want a larger table, and the reverse
    const uint64_t entries = std::max({index + 1, old_entries * 2, old_entries + blocks});
    clusters = (entries + entries_per_cluster - 1) / entries_per_cluster;
    const uint64_t needed = (clusters + blocks + per_block_ - 1) / per_block_;
    if (needed <= blocks) break;
    blocks = needed;
  }
  if (clusters * cluster_bytes_ > kRefcountTableBytesMax) co_return Status::from_errno(ENOSPC);

  const uint64_t place = first * cluster_bytes_;
  if (metadata_.touches(place, (blocks + clusters) * cluster_bytes_)) {
    co_return Status::from_errno(EUCLEAN);
  }
  std::vector<uint64_t> table = table_;
  table.resize(clusters * entries_per_cluster);
  for (uint64_t i = 0; i < blocks; ++i) table[old_entries + i] = (first + i) * cluster_bytes_;
  Task growing = make_room(request, (first + blocks + clusters) * cluster_bytes_);
  const Status grown = co_await growing;
  if (!grown.ok()) co_return grown;
  Task writing = write_new_table(request, first, blocks, table);
  const Status written = co_await writing;
  if (!written.ok()) co_return written;
  const uint64_t offset = (first + blocks) * cluster_bytes_;
  Task publishing = publish_table(request, offset, clusters);
  const Status published = co_await publishing;
  if (!published.ok()) co_return published;
  // The cache may still have its blocks, so it is not used again before the end.
  retire(table_offset_, table_clusters_);
  metadata_.add(place, (blocks + clusters) * cluster_bytes_);
  table_ = std::move(table);
  linked_index_ = UINT64_MAX;  // an entry of the old table
  table_offset_ = offset;
  table_clusters_ = clusters;
  co_return kOk;
}

// Not through the cache, which has nothing of this part of the image.
Task Clusters::write_new_table(Request& request, uint64_t first, uint64_t blocks,
                               const std::vector<uint64_t>& table) {
  const uint64_t table_bytes = table.size() * sizeof(uint64_t);
  const Buffer memory(blocks * cluster_bytes_ + table_bytes);
  std::ranges::fill(memory.bytes(), std::byte{0});
  const uint64_t used = blocks + table_bytes / cluster_bytes_;
  for (uint64_t i = 0; i < used; ++i) {
    const auto block = memory.bytes().subspan(i / per_block_ * cluster_bytes_, cluster_bytes_);
    set_refcount(block, order_, i % per_block_, 1);
  }
  const auto entries = memory.bytes().subspan(blocks * cluster_bytes_);
  for (size_t i = 0; i < table.size(); ++i) {
    store_big_endian(entries, i * sizeof(uint64_t), table[i]);
  }
  PrivateLoan loan(Direction::source, memory.bytes());
  Request writing = transfer(request, Op::write, first * cluster_bytes_, loan.view());
  Task served = storage_.submit(writing);
  co_return co_await served;
}

// Both fields are in one sector.
Task Clusters::publish_table(Request& request, uint64_t offset, uint64_t clusters) {
  WritePin header;
  Task taking = cache_.write(request, 0, header);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  Task ordering = cache_.order_after_child(request, header);
  const Status ordered = co_await ordering;
  if (!ordered.ok()) co_return ordered;
  store_big_endian(header.bytes(), kTableOffsetPlace, offset);
  store_big_endian(header.bytes(), kTableClustersPlace, static_cast<uint32_t>(clusters));
  switched_ = header.publish();
  co_return kOk;
}

}  // namespace sluice::qcow2
