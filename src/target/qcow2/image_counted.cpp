// Image: entries with the flag COPIED are compared with the refcounts.
#include <algorithm>
#include <vector>

#include "target/qcow2/image.hpp"

namespace sluice::qcow2 {

// Once for all entries of a block of the cache. After that, only this program changes them.
bool Image::is_counted(uint64_t offset) const {
  return rules_.external ||
         counted_->contains(entry_place(table_of(offset), offset) / block_bytes_);
}

// Others change the entries outside of the range meanwhile: what seems to be wrong with them is
// looked at when they are used.
Task Image::check_counted(Request& request, uint64_t offset, uint64_t length) {
  const uint64_t place = entry_place(table_of(offset), offset);
  const uint64_t block = place / block_bytes_;
  const uint64_t per_block = block_bytes_ / header_.l2_entry_bytes();
  const uint64_t first = place % block_bytes_ / header_.l2_entry_bytes();
  const uint64_t used = ((offset % header_.cluster_bytes() + length - 1) >> header_.cluster_bits);
  ReadPin table;
  Task reading = cache_->read(request, block, table);
  if (const Status read = co_await reading; !read.ok()) co_return read;
  std::vector<uint64_t> hosts;
  std::vector<uint64_t> indices;
  for (uint64_t i = 0; i < per_block; ++i) {
    const L2Entry entry = load_entry(table.bytes(), i * header_.l2_entry_bytes(), rules_);
    if (entry.is_compressed() || !entry.is_copied() || entry.host_offset() == 0) continue;
    hosts.push_back(entry.host_offset());
    indices.push_back(i);
  }
  table.release();
  std::vector<uint64_t> counts(hosts.size());
  Task counting = clusters_->refcounts(request, hosts, counts);
  if (const Status counted = co_await counting; !counted.ok()) co_return counted;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 1 || indices[i] < first || indices[i] > first + used) continue;
    Task reporting = report_corruption(
        request, offset, "has the flag for a refcount of one, which the refcount is not");
    co_return co_await reporting;
  }
  if (std::ranges::all_of(counts, [](uint64_t count) { return count == 1; })) counted_->add(block);
  co_return kOk;
}

void Image::forget_counted(uint64_t table) {
  for (uint64_t done = 0; done < header_.cluster_bytes(); done += block_bytes_) {
    counted_->forget((table + done) / block_bytes_);
  }
}

}  // namespace sluice::qcow2
