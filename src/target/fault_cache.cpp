#include "target/fault_cache.hpp"

#include <cstring>

namespace sluice {

void FaultCache::store(uint64_t offset, std::span<const std::byte> bytes) {
  const std::scoped_lock guard(mutex_);
  ++stamp_;
  for (size_t done = 0; done < bytes.size(); done += block_bytes_) {
    Block& block = blocks_[offset + done];
    if (block.data == nullptr) block.data = std::make_unique<std::byte[]>(block_bytes_);
    std::memcpy(block.data.get(), bytes.data() + done, block_bytes_);
    block.content = Content::data;
    block.stamp = stamp_;
  }
}

void FaultCache::store_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  const std::scoped_lock guard(mutex_);
  ++stamp_;
  const Content content = may_unmap ? Content::unmapped_zeroes : Content::zeroes;
  for (uint64_t done = 0; done < length; done += block_bytes_) {
    blocks_.insert_or_assign(offset + done, Block{content, stamp_, nullptr});
  }
}

std::optional<FaultCache::Run> FaultCache::next_run(uint64_t begin, uint64_t end) const {
  const std::scoped_lock guard(mutex_);
  const auto first = blocks_.lower_bound(begin);
  if (first == blocks_.end() || first->first >= end) return std::nullopt;
  const Content content = first->second.content;
  uint64_t run_end = first->first;
  auto last = first;
  for (; last != blocks_.end(); ++last) {
    const bool goes_on = last->first == run_end && last->first < end &&
                         last->second.content == content && run_end - first->first < kRunBytes;
    if (!goes_on) break;
    run_end += block_bytes_;
  }
  const uint64_t length = run_end - first->first;
  Run run{first->first, length, content, Buffer(content == Content::data ? length : 0), stamp_};
  if (content == Content::data) {
    std::byte* place = run.data.bytes().data();
    for (auto block = first; block != last; ++block, place += block_bytes_) {
      std::memcpy(place, block->second.data.get(), block_bytes_);
    }
  }
  return run;
}

void FaultCache::forget(const Run& run) {
  const std::scoped_lock guard(mutex_);
  for (auto block = blocks_.lower_bound(run.offset);
       block != blocks_.end() && block->first < run.end();) {
    block = block->second.stamp <= run.stamp ? blocks_.erase(block) : std::next(block);
  }
}

void FaultCache::clear() {
  const std::scoped_lock guard(mutex_);
  blocks_.clear();
}

uint64_t FaultCache::bytes() const {
  const std::scoped_lock guard(mutex_);
  return blocks_.size() * block_bytes_;
}

std::pair<uint64_t, uint64_t> FaultCache::bounds() const {
  const std::scoped_lock guard(mutex_);
  if (blocks_.empty()) return {0, 0};
  return {blocks_.begin()->first, blocks_.rbegin()->first + block_bytes_};
}

}  // namespace sluice
