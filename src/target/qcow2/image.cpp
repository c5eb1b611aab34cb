#include "target/qcow2/image.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/big_endian.hpp"
#include "core/buffer.hpp"
#include "core/events.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "spec/shown.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {

Image::Image(Options options, Header header, Target& storage, Target& data)
    : options_(std::move(options)),
      header_(std::move(header)),
      rules_(header_),
      storage_(storage),
      data_(data),
      bitmap_store_(options_.name, header_, storage_, bitmaps_) {}

// --- Look-up

// The storage may have grown.
MappingRules Image::rules() const {
  MappingRules now = rules_;
  const uint64_t mask = header_.cluster_bytes() - 1;
  now.host_end = (storage_.geometry().size_bytes + mask) & ~mask;
  return now;
}

Task Image::look_up(Request& request, uint64_t offset, uint64_t length, Run& run, bool by_place) {
  if (!has_table(offset)) {
    if (l1_.size() == 0 && cache_ == nullptr) {
      return load_and_look_up(request, offset, length, run, by_place);
    }
    const uint64_t span = header_.table_span_bytes();
    run = {.kind = Kind::unallocated, .length = std::min(length, span - offset % span)};
    return kOk;
  }
  // Not a coroutine if the entries are in the cache.
  const uint64_t place = entry_place(table_of(offset), offset);
  ReadPin table;
  if (!cache_->try_read(request, place / block_bytes_, table)) {
    return load_and_look_up(request, offset, length, run, by_place);
  }
  const Status found = run_in(table, place, offset, length, by_place, run);
  table.release();
  if (found.error() == EUCLEAN) return report_corruption(request, offset);
  return found;
}

Task Image::load_and_look_up(Request& request, uint64_t offset, uint64_t length, Run& run,
                             bool by_place) {
  if (l1_.size() == 0 && cache_ == nullptr) {  // a layer above looks at it, one thing at a time
    LifeCall call{.purpose = LifeCall::Purpose::look};
    if (!create_cache()) co_return Status::from_errno(ENOMEM);
    Task loading = load_l1(request, call);
    if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
    Task looking = look_up(request, offset, length, run, by_place);
    co_return co_await looking;
  }
  const uint64_t place = entry_place(table_of(offset), offset);
  ReadPin table;
  if (cache_ == nullptr) co_return Status::from_errno(EIO);  // reload() has failed
  Task reading = cache_->read(request, place / block_bytes_, table);
  const Status read = co_await reading;
  if (!read.ok()) co_return read;
  const Status found = run_in(table, place, offset, length, by_place, run);
  table.release();
  if (found.error() != EUCLEAN) co_return found;
  Task reporting = report_corruption(request, offset);
  co_return co_await reporting;
}

Status Image::run_in(const ReadPin& table, uint64_t place, uint64_t offset, uint64_t length,
                     bool by_place, Run& run) const {
  MappingRules now = rules();
  now.by_place = by_place;
  return first_run(table.bytes().subspan(place % block_bytes_), offset, length, now, run);
}

bool Image::has_table(uint64_t offset) const {
  return l1_index(offset) < l1_.size() && table_of(offset) != 0;
}

uint64_t Image::clusters_together(uint64_t offset) const {
  const uint64_t per_block = block_bytes_ / header_.l2_entry_bytes();
  return per_block - (offset >> header_.cluster_bits) % per_block;
}

Task Image::load_entries(Request& request, uint64_t offset, std::span<L2Entry> entries) {
  const uint64_t place = entry_place(table_of(offset), offset);
  ReadPin table;
  Task reading = cache_->read(request, place / block_bytes_, table);
  const Status read = co_await reading;
  if (!read.ok()) co_return read;
  Status checked;
  const MappingRules now = rules();
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint64_t in_block = place % block_bytes_ + i * header_.l2_entry_bytes();
    entries[i] = load_entry(table.bytes(), in_block, now);
    if (checked.ok()) {
      checked = check_entry(entries[i], offset + i * header_.cluster_bytes(), now);
    }
    if (checked.ok() && leads_to_metadata(entries[i])) checked = Status::from_errno(EUCLEAN);
  }
  table.release();
  if (!checked.ok()) {
    Task reporting = report_corruption(request, offset);
    co_return co_await reporting;
  }
  if (is_counted(offset)) co_return kOk;
  Task counting = check_counted(request, offset, entries.size() * header_.cluster_bytes());
  co_return co_await counting;
}

// What a change replaces is discarded, which must not happen to a table.
bool Image::leads_to_metadata(const L2Entry& entry) const {
  if (rules_.external) return false;
  if (entry.is_compressed()) {
    const CompressedPlace place = entry.compressed_place(header_.cluster_bits);
    return is_metadata(place.offset, place.length);
  }
  return entry.host_offset() != 0 && is_metadata(entry.host_offset(), 1);
}

// --- Changes

Task Image::store_entries(Request& request, uint64_t offset, std::span<const L2Entry> entries,
                          std::span<const BlockVersion> counted, BlockVersion& stored) {
  const uint64_t place = entry_place(table_of(offset), offset);
  WritePin table;
  Task taking = cache_->write(request, place / block_bytes_, table);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  for (const BlockVersion& each : counted) {
    Task ordering = cache_->order_after(request, table, each);
    const Status ordered = co_await ordering;
    if (!ordered.ok()) co_return ordered;
  }
  Task ordering = cache_->order_after_data(request, table);
  const Status ordered = co_await ordering;
  if (!ordered.ok()) co_return ordered;
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint64_t in_block = place % block_bytes_ + i * header_.l2_entry_bytes();
    store_entry(table.bytes(), in_block, entries[i], rules_);
  }
  stored = table.publish();
  co_return kOk;
}

Task Image::keep(Request& request, BlockVersion stored) {
  return options_.outlives_server ? cache_->make_durable(request, stored) : Task(kOk);
}

// Makes a table, or a copy of one that belongs to a snapshot as well.
Task Image::prepare_table(Request& request, uint64_t offset) {
  try_again();
  const uint64_t index = l1_index(offset);
  if ((l1_[index].load(std::memory_order_acquire) & kCopied) != 0) co_return kOk;
  AsyncMutex::Hold hold(tables_, *request.ring);
  co_await hold;
  const uint64_t old = l1_[index].load(std::memory_order_acquire);
  if ((old & kCopied) != 0) co_return kOk;
  const uint64_t old_table = old & kOffsetMask;
  Task settling = settle_l1(request);
  if (const Status settled = co_await settling; !settled.ok()) co_return settled;
  Allocation place;
  Task allocating = clusters_->allocate(request, 1, place);
  const Status allocated = co_await allocating;
  if (!allocated.ok()) co_return allocated;
  Task making = old_table == 0 ? clusters_->clear(request, place.offset)
                               : copy_cluster(request, old_table, place.offset);
  Status made = co_await making;
  WritePin l1;
  const uint64_t entry = header_.l1_offset + index * sizeof(uint64_t);
  if (made.ok()) {
    Task taking = cache_->write(request, entry / block_bytes_, l1);
    made = co_await taking;
  }
  if (made.ok()) {
    Task ordering = cache_->order_after(request, l1, place.counted);
    made = co_await ordering;
  }
  if (made.ok()) {
    Task ordering = cache_->order_after_child(request, l1);
    made = co_await ordering;
  }
  if (!made.ok()) {
    clusters_->give_back(place);
    co_return made;
  }
  forget_counted(place.offset);
  store_big_endian(l1.bytes(), entry % block_bytes_, place.offset | kCopied);
  const BlockVersion linked = l1.publish();
  metadata_->add(place.offset);
  if (old_table != 0 || options_.outlives_server) {
    // As long as the disk leads to the old table, it leads to all clusters of that as well: no
    // reference to one of them may be dropped. After a failure nobody knows where it leads, so that
    // the new place is not used again.
    Task waiting = cache_->make_durable(request, linked);
    const Status durable = co_await waiting;
    if (!durable.ok()) co_return durable;
  }
  l1_[index].store(place.offset | kCopied, std::memory_order_release);
  if (old_table == 0) co_return kOk;
  Task releasing = release_table(request, old_table, linked);
  co_return co_await releasing;
}

// The cache may still have blocks of a table that only the missing COPIED flag called shared.
Task Image::release_table(Request& request, uint64_t table, BlockVersion gone) {
  uint64_t count = 0;
  Task counting = clusters_->refcount(request, table, count);
  if (const Status counted = co_await counting; !counted.ok()) co_return counted;
  if (count == 1) {
    clusters_->retire(table, 1);
    co_return kOk;
  }
  Task dropping = clusters_->drop(request, table, gone);
  co_return co_await dropping;
}

// A block that could not be written, for instance for lack of space: it may belong to a write that
// has succeeded.
void Image::try_again() {
  if (cache_->failed()) cache_->forgive();
}

// Of a table that nobody changes: the cache has nothing newer.
Task Image::copy_cluster(Request& request, uint64_t from, uint64_t to) {
  const Buffer memory(header_.cluster_bytes());
  StorageBytes bytes(storage_);
  Task reading = bytes.read(request, from, memory.bytes());
  const Status read = co_await reading;
  if (!read.ok()) co_return read;
  PrivateLoan loan(Direction::source, memory.bytes());
  Request writing = transfer(request, Op::write, to, loan.view());
  Task served = storage_.submit(writing);
  co_return co_await served;
}

// The data first, which the entries lead to. Through the cache: after a flush that has failed, no
// entry may be written that leads to lost data.
Task Image::flush(Request& request) {
  const uint64_t dropped = clusters_->dropped_until_now();
  try_again();
  Task flushing_data = cache_->make_data_durable(request);
  const Status flushed_data = co_await flushing_data;
  if (!flushed_data.ok()) co_return flushed_data;
  Task flushing = cache_->flush(request);
  const Status flushed = co_await flushing;
  if (!flushed.ok()) co_return flushed;
  Task freeing = clusters_->free_dropped(request, dropped);
  std::ignore = co_await freeing;  // what cannot be freed is leaked
  co_return kOk;
}

// The second flush is for what the first one has freed. The bitmaps of an image that is not settled
// stay marked as in use.
Task Image::settle(Request& request) {
  Task flushing = flush(request);
  if (const Status flushed = co_await flushing; !flushed.ok()) co_return flushed;
  Status stored;
  if (!corrupt()) {
    Task storing = bitmap_store_.store(request);
    stored = co_await storing;
  }
  if (!bitmaps_.all().empty()) {
    Task flushing_bitmaps = flush(request);
    if (const Status flushed = co_await flushing_bitmaps; !flushed.ok()) co_return flushed;
  }
  Task freeing = clusters_->free_unused(request);
  if (const Status freed = co_await freeing; !freed.ok()) co_return freed;
  Task flushing_again = flush(request);
  const Status flushed_again = co_await flushing_again;
  co_return stored.ok() ? flushed_again : stored;
}

Task Image::close(Request& request) {
  Status done;
  if (clusters_ != nullptr) {
    Task settling = settle(request);
    done = co_await settling;
  }
  bitmap_store_.end();
  switched_ = {};
  clusters_.reset();
  counted_.reset();
  metadata_.reset();
  l1_ = Table(0);
  const std::lock_guard guard(opening_);
  cache_.reset();
  co_return done;
}

// --- Corruption

Task Image::report_corruption(Request& request, uint64_t offset, std::string_view what) {
  if (corrupt_.exchange(true)) co_return Status::from_errno(EIO);
  log().error(
      "{}: the image is corrupt: the entry for offset {} {}; it is read-only now: repair it with"
      " sluice check --repair all",
      shown(options_.name), offset, what);
  emit({.kind = kHealthChanged, .text = "the image is corrupt", .target = options_.name});
  if (!options_.writable || header_.version == 2) co_return Status::from_errno(EIO);
  Task marking = set_features(request, header_.incompatible | kCorrupt, header_.autoclear);
  std::ignore = co_await marking;
  co_return Status::from_errno(EIO);
}

Health Image::health() const {
  Health health;
  if (corrupt()) {
    health.state = HealthState::failed;
    health.reason = "the image is corrupt, and read-only";
  }
  const std::lock_guard guard(opening_);
  if (cache_ == nullptr) return health;
  const MetadataCache::Stats stats = cache_->stats();
  health.numbers = {
      {.name = "table_hits", .value = stats.hits},
      {.name = "table_misses", .value = stats.misses},
      {.name = "table_writes", .value = stats.writes},
      {.name = "table_evictions", .value = stats.evictions},
      {.name = "dirty_blocks", .value = stats.dirty, .kind = HealthNumber::Kind::gauge}};
  return health;
}

// Durable at once.
Task Image::set_features(Request& request, uint64_t incompatible, uint64_t autoclear) {
  WritePin header;
  Task taking = cache_->write(request, 0, header);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  store_big_endian(header.bytes(), kFeaturesPlace, incompatible);
  store_big_endian(header.bytes(), kFeaturesPlace + 16, autoclear);
  const BlockVersion changed = header.publish();
  Task waiting = cache_->make_durable(request, changed);
  co_return co_await waiting;
}

}  // namespace sluice::qcow2
