#include "target/qcow2/bitmap/bitmap_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/big_endian.hpp"
#include "core/buffer.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "spec/shown.hpp"
#include "target/plain_request.hpp"

namespace sluice::qcow2 {
namespace {

bool is_clear(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

// Its table is in a row of clusters.
uint64_t BitmapStore::bytes_max() const {
  const uint64_t cluster = header_.cluster_bytes();
  const uint64_t row = (header_.refcounts_per_block() - 1) * cluster / sizeof(uint64_t) * cluster;
  return std::min({kBitmapBytesMax, kMemoryMax - std::min(memory_bytes_, kMemoryMax), row});
}

Task BitmapStore::add(Request& request, BitmapEntry entry, std::unique_ptr<Bitmap>& made) {
  why_.clear();
  auto bitmap = std::make_unique<Bitmap>(std::move(entry));
  const uint32_t granularity_bits = bitmap->entry().granularity_bits;
  const uint64_t bytes = Bitmap::bytes_for(header_.size_bytes, granularity_bits);
  if (const Status sized = bitmap->resize(header_.size_bytes); !sized.ok()) co_return sized;
  const uint64_t table_entries = clusters_of(bytes);
  Allocation place;
  Task allocating = parts_->clusters.allocate_run(request, table_clusters(table_entries), place);
  if (const Status allocated = co_await allocating; !allocated.ok()) co_return allocated;
  Status written;
  for (uint64_t i = 0; written.ok() && i < place.count; ++i) {
    Task clearing = parts_->clusters.clear(request, place.offset + i * header_.cluster_bytes());
    written = co_await clearing;
  }
  bitmap->set_place(place.offset, static_cast<uint32_t>(table_entries), {});
  bitmap->set_changed(false);
  bitmap->set_in_use(true);
  if (written.ok()) {
    std::vector<BitmapEntry> entries;
    for (const auto& each : bitmaps_.all()) entries.push_back(each->entry());
    entries.push_back(bitmap->entry());
    Task writing = write_directory(request, entries);
    written = co_await writing;
  }
  if (!written.ok()) {
    if (!unsure_) parts_->clusters.give_back(place);
    co_return written;
  }
  memory_bytes_ += bytes;
  made = std::move(bitmap);
  co_return kOk;
}

Task BitmapStore::remove(Request& request, const Bitmap& bitmap) {
  std::vector<BitmapEntry> entries;
  for (const auto& each : bitmaps_.all()) {
    if (each.get() != &bitmap) entries.push_back(each->entry());
  }
  Task writing = write_directory(request, entries);
  if (const Status written = co_await writing; !written.ok()) co_return written;
  free_bitmap(bitmap.entry(), bitmap.clusters());
  if (!bitmap.inconsistent()) {
    memory_bytes_ -= Bitmap::bytes_for(header_.size_bytes, bitmap.entry().granularity_bits);
  }
  co_return kOk;
}

Status BitmapStore::may_grow(uint64_t disk_bytes) const {
  uint64_t total = 0;
  for (const auto& each : bitmaps_.all()) {
    if (each->inconsistent()) continue;
    const uint64_t bytes = Bitmap::bytes_for(disk_bytes, each->entry().granularity_bits);
    total += bytes;
    const bool has_row = table_clusters(clusters_of(bytes)) < header_.refcounts_per_block();
    if (bytes > kBitmapBytesMax || !has_row) return Status::from_errno(EFBIG);
  }
  return Status::from_errno(total > kMemoryMax ? EFBIG : 0);
}

Status BitmapStore::grow(uint64_t disk_bytes) {
  uint64_t total = 0;
  for (const auto& each : bitmaps_.all()) {
    if (each->inconsistent()) continue;
    if (const Status grown = each->resize(disk_bytes); !grown.ok()) return grown;
    total += Bitmap::bytes_for(disk_bytes, each->entry().granularity_bits);
  }
  memory_bytes_ = total;
  return kOk;
}

Task BitmapStore::store(Request& request) {
  if (unsure_) co_return kOk;
  if (bitmaps_.all().empty()) {
    keep_spare({});
    co_return kOk;
  }
  struct Former {
    BitmapEntry entry;
    std::vector<uint64_t> clusters;
  };
  std::vector<Former> replaced;
  std::vector<BitmapEntry> entries;
  for (const auto& each : bitmaps_.all()) {
    if (!each->inconsistent() && each->changed()) {
      Former former{.entry = each->entry(), .clusters = each->clusters()};
      Task storing = store_bits(request, *each);
      if (const Status stored = co_await storing; stored.ok()) {
        replaced.push_back(std::move(former));
      } else {
        log().warn("{}: bitmap {} becomes inconsistent, as it cannot be stored: {}", shown(name_),
                   shown(each->name()), std::generic_category().message(stored.error()));
        each->make_inconsistent();
      }
    }
    each->set_in_use(each->inconsistent());
    entries.push_back(each->entry());
  }
  Task writing = write_directory(request, entries);
  if (const Status written = co_await writing; !written.ok()) {
    log().warn("{}: its bitmaps become inconsistent, as their directory cannot be written{}{}",
               shown(name_), why_.empty() ? "" : ": ", why_);
    co_return written;
  }
  for (const Former& each : replaced) free_bitmap(each.entry, each.clusters);
  keep_spare({});
  co_return kOk;
}

// To new clusters, to which nothing leads yet. After a failure these are free again.
Task BitmapStore::store_bits(Request& request, Bitmap& bitmap) {
  const uint64_t bytes = Bitmap::bytes_for(header_.size_bytes, bitmap.entry().granularity_bits);
  Table table(clusters_of(bytes));
  Task writing = write_bits(request, bitmap, table);
  Status status = co_await writing;
  uint64_t offset = 0;
  if (status.ok()) {
    Task writing_table = write_table(request, table, offset);
    status = co_await writing_table;
  }
  std::vector<uint64_t> clusters;
  std::ranges::copy_if(table, std::back_inserter(clusters),
                       [](uint64_t each) { return each != 0; });
  if (!status.ok()) {
    for (const uint64_t each : clusters) parts_->clusters.give_back({.offset = each, .count = 1});
    co_return status;
  }
  bitmap.set_place(offset, static_cast<uint32_t>(table.size()), std::move(clusters));
  bitmap.set_changed(false);
  co_return kOk;
}

// A cluster without a bit set needs no place.
Task BitmapStore::write_bits(Request& request, Bitmap& bitmap, Table& table) {
  const uint64_t cluster = header_.cluster_bytes();
  const Buffer memory(cluster);
  const std::span<std::byte> bits = bitmap.bytes();
  for (size_t i = 0; i < table.size(); ++i) {
    const auto part = bits.subspan(i * cluster, std::min(cluster, bits.size() - i * cluster));
    if (is_clear(part)) continue;
    Allocation place;
    Task allocating = parts_->clusters.allocate(request, 1, place);
    if (const Status allocated = co_await allocating; !allocated.ok()) co_return allocated;
    table[i] = place.offset;
    std::ranges::fill(memory.bytes(), std::byte{0});
    std::ranges::copy(part, memory.bytes().begin());
    Task writing = write_storage(request, place.offset, memory.bytes());
    if (const Status written = co_await writing; !written.ok()) co_return written;
  }
  co_return kOk;
}

Task BitmapStore::write_table(Request& request, const Table& table, uint64_t& offset) {
  Allocation place;
  Task allocating = parts_->clusters.allocate_run(request, table_clusters(table.size()), place);
  if (const Status allocated = co_await allocating; !allocated.ok()) co_return allocated;
  const Buffer memory(place.count * header_.cluster_bytes());
  std::ranges::fill(memory.bytes(), std::byte{0});
  for (size_t i = 0; i < table.size(); ++i) {
    store_big_endian(memory.bytes(), i * sizeof(uint64_t), table[i]);
  }
  Task writing = write_storage(request, place.offset, memory.bytes());
  const Status written = co_await writing;
  if (!written.ok()) parts_->clusters.give_back(place);
  offset = place.offset;
  co_return written;
}

Task BitmapStore::write_storage(Request& request, uint64_t offset, std::span<std::byte> bytes) {
  PrivateLoan loan(Direction::source, bytes);
  Request writing = transfer(request, Op::write, offset, loan.view());
  Task served = storage_.submit(writing);
  co_return co_await served;
}

// When the image no longer leads to it.
void BitmapStore::free_bitmap(const BitmapEntry& entry, const std::vector<uint64_t>& clusters) {
  free_clusters(entry.table_offset, table_clusters(entry.table_entries));
  for (const uint64_t each : clusters) free_clusters(each, 1);
}

// What is known as metadata cannot become guest data before the end.
void BitmapStore::free_clusters(uint64_t offset, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t place = offset + i * header_.cluster_bytes();
    if (parts_->metadata.contains(place)) {
      parts_->clusters.retire(place, 1);
    } else {
      parts_->clusters.drop_only(place);
    }
  }
}

uint64_t BitmapStore::table_clusters(uint64_t entries) const {
  return clusters_of(entries * sizeof(uint64_t));
}

}  // namespace sluice::qcow2
