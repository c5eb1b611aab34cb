#include "target/qcow2/refcount_change.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/big_endian.hpp"
#include "core/private_loan.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/refcount_block.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {

void RefcountChange::begin() { blocks_.resize(clusters_.table_.size()); }

RefcountChange::Block* RefcountChange::block_of(uint64_t offset) const {
  const uint64_t index = cluster_of(offset) / clusters_.per_block_;
  return index < blocks_.size() ? blocks_[index].get() : nullptr;
}

bool RefcountChange::has(uint64_t offset) const { return block_of(offset) != nullptr; }

// Through the cache, which may have newer ones than the disk.
Task RefcountChange::load(Request& request, uint64_t offset) {
  const uint64_t cluster = cluster_of(offset);
  if (!clusters_.has_block(cluster)) co_return Status::from_errno(EUCLEAN);
  const uint64_t index = cluster / clusters_.per_block_;
  auto block = std::make_unique<Block>(clusters_.cluster_bytes_);
  const uint64_t part_bytes = clusters_.cache_block_bytes_;
  for (uint64_t done = 0; done < clusters_.cluster_bytes_; done += part_bytes) {
    ReadPin part;
    Task reading =
        clusters_.cache_.read(request, (clusters_.table_[index] + done) / part_bytes, part);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    std::ranges::copy(part.bytes(), block->memory.bytes().subspan(done).begin());
  }
  blocks_[index] = std::move(block);
  co_return kOk;
}

uint64_t RefcountChange::count(uint64_t offset) const {
  return get_refcount(block_of(offset)->memory.bytes(), clusters_.order_,
                      cluster_of(offset) % clusters_.per_block_);
}

void RefcountChange::set(uint64_t offset, uint64_t count) {
  Block* const block = block_of(offset);
  set_refcount(block->memory.bytes(), clusters_.order_, cluster_of(offset) % clusters_.per_block_,
               count);
  block->changed = true;
}

Status RefcountChange::raise(uint64_t offset) {
  const uint64_t now = count(offset);
  const uint32_t bits = 1U << clusters_.order_;
  if (now == 0) return Status::from_errno(EUCLEAN);
  if (now == UINT64_MAX >> (64 - bits)) return Status::from_errno(EOVERFLOW);
  set(offset, now + 1);
  return kOk;
}

Status RefcountChange::lower(uint64_t offset) {
  const uint64_t now = count(offset);
  if (now == 0) return Status::from_errno(EUCLEAN);
  if (now == 1) first_free_ = std::min(first_free_, cluster_of(offset));
  set(offset, now - 1);
  return kOk;
}

uint64_t RefcountChange::changed_blocks() const {
  return static_cast<uint64_t>(std::ranges::count_if(
      blocks_, [](const auto& each) { return each != nullptr && each->changed; }));
}

Task RefcountChange::write(Request& request, std::span<const Allocation> places,
                           const Allocation& table) {
  new_table_ = clusters_.table_;
  new_place_ = table;
  size_t used = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i] == nullptr || !blocks_[i]->changed) continue;
    new_table_[i] = places[used++].offset;
    Task writing = write_part(request, new_table_[i], blocks_[i]->memory.bytes());
    if (const Status written = co_await writing; !written.ok()) co_return written;
  }
  const Buffer memory(table.count * clusters_.cluster_bytes_);
  std::ranges::fill(memory.bytes(), std::byte{0});
  for (size_t i = 0; i < new_table_.size(); ++i) {
    store_big_endian(memory.bytes(), i * sizeof(uint64_t), new_table_[i]);
  }
  Task writing = write_part(request, table.offset, memory.bytes());
  co_return co_await writing;
}

Task RefcountChange::write_part(Request& request, uint64_t offset, std::span<std::byte> bytes) {
  PrivateLoan loan(Direction::source, bytes);
  Request writing = transfer(request, Op::write, offset, loan.view());
  Task served = clusters_.storage_.submit(writing);
  co_return co_await served;
}

void RefcountChange::adopt(std::vector<uint64_t>& replaced) {
  const uint64_t cluster = clusters_.cluster_bytes_;
  for (size_t i = 0; i < new_table_.size(); ++i) {
    if (new_table_[i] != clusters_.table_[i]) replaced.push_back(clusters_.table_[i]);
  }
  for (uint64_t i = 0; i < clusters_.table_clusters_; ++i) {
    replaced.push_back(clusters_.table_offset_ + i * cluster);
  }
  clusters_.table_ = std::move(new_table_);
  clusters_.table_offset_ = new_place_.offset;
  clusters_.table_clusters_ = new_place_.count;
  clusters_.linked_index_ = UINT64_MAX;  // an entry of the old table
  clusters_.cursor_ = std::min(clusters_.cursor_, first_free_);
  clusters_.packed_end_ = 0;  // that cluster may have more references now, or none
  blocks_.clear();
}

}  // namespace sluice::qcow2
