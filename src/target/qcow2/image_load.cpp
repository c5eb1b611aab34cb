// Image: reads and checks the tables.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/big_endian.hpp"
#include "core/log.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/image.hpp"
#include "target/qcow2/snapshot_table.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kCacheBlockBytes = 4096;
constexpr uint64_t kCacheBlocksMin = 64;
constexpr uint64_t kSnapshotTablePart = 64 << 10;  // read first
constexpr uint64_t kL1Reserved = 0x7f000000000001ff;
constexpr uint64_t kRefcountTableReserved = 0x1ff;

std::vector<uint64_t> numbers_of(std::span<const std::byte> bytes) {
  std::vector<uint64_t> numbers(bytes.size() / sizeof(uint64_t));
  for (size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = load_big_endian<uint64_t>(bytes, i * sizeof(uint64_t));
  }
  return numbers;
}

}  // namespace

Task Image::load(Request& request, LifeCall& call) {
  Task loading_header = load_header(request, call);
  if (const Status loaded = co_await loading_header; !loaded.ok()) co_return loaded;
  if (call.purpose == LifeCall::Purpose::look) co_return kOk;
  if (options_.writable) {
    // In a handover the former server may have grown the files since they were opened here.
    std::ignore = storage_.resize(std::nullopt);
    if (has_data_file()) std::ignore = data_.resize(std::nullopt);
  }
  if (auto created = create_cache(); !created) {
    co_return call.fail(created.error().error, created.error().text);
  }
  Task loading_l1 = load_l1(request, call);
  if (const Status loaded = co_await loading_l1; !loaded.ok()) co_return loaded;
  if (options_.writable || options_.has_bitmaps) {
    Task loading_bitmaps = bitmap_store_.load(request);
    if (const Status loaded = co_await loading_bitmaps; !loaded.ok()) co_return loaded;
  }
  if (!options_.writable) co_return kOk;
  Task loading_refcounts = load_refcount_table(request, call);
  if (const Status loaded = co_await loading_refcounts; !loaded.ok()) co_return loaded;
  Task beginning = begin_writing(request, call);
  co_return co_await beginning;
}

// Again, because another server may have changed it since the target was opened.
Task Image::load_header(Request& request, LifeCall& call) {
  const uint64_t cluster = header_.cluster_bytes();
  StorageBytes bytes(storage_);
  std::vector<std::byte> start(std::max<uint64_t>(cluster, 512));
  Task reading = bytes.read(request, 0, start);
  if (const Status read = co_await reading; !read.ok()) {
    co_return call.fail(read.error(), fmt::format("cannot read {}", shown(options_.name)));
  }
  auto header = parse_header(start, bytes.exact_size());
  if (!header) co_return call.fail(header.error().error, header.error().text);
  const bool other = header->has(kExternalData) != header_.has(kExternalData) ||
                     header->encryption.has_value() != header_.encryption.has_value() ||
                     header->backing_name != header_.backing_name ||
                     header->cluster_bits != header_.cluster_bits;
  if (other) {
    co_return call.fail(ESTALE, fmt::format("{} has become another image since it was opened: try"
                                            " again",
                                            shown(options_.name)));
  }
  header_ = std::move(*header);
  rules_ = MappingRules(header_);
  rules_.is_snapshot = !options_.snapshot.empty();
  if (!options_.writable) co_return kOk;
  const bool serves = call.purpose == LifeCall::Purpose::serve;
  if (serves && has_data_file() && data_.geometry().size_bytes < header_.size_bytes) {
    if (auto grown = data_.resize(header_.size_bytes); !grown) {
      co_return call.fail(
          grown.error().error,
          fmt::format("the data file of {} is smaller than its disk of {} bytes: {}",
                      shown(options_.name), uint64_t{header_.size_bytes}, grown.error().text));
    }
  }
  if (header_.has(kCorrupt)) {
    co_return call.fail(EUCLEAN, fmt::format("{} is marked as corrupt: repair it with"
                                             " sluice check --repair all {}, or add it read-only",
                                             shown(options_.name), shell_word(options_.name)));
  }
  if (header_.has(kDirty)) {
    co_return call.fail(EUCLEAN, fmt::format("{} was not closed, and its refcounts may be wrong:"
                                             " repair it with sluice check --repair all {}",
                                             shown(options_.name), shell_word(options_.name)));
  }
  co_return kOk;
}

Result<void> Image::create_cache() {
  const uint64_t cluster = header_.cluster_bytes();
  block_bytes_ = std::min(kCacheBlockBytes, cluster);
  const uint32_t child_block = storage_.geometry().logical_block_bytes;
  if (block_bytes_ < child_block) {
    return fail(EINVAL,
                fmt::format("{} has clusters of {} bytes, less than a block of {} bytes below"
                            " it: put it on a file, or on storage with smaller blocks",
                            shown(options_.name), cluster, child_block));
  }
  const uint64_t entries = header_.size_bytes / cluster + 1;
  const uint64_t tables = entries * header_.l2_entry_bytes() / block_bytes_ + 1;
  const uint64_t wanted = tables + tables / 4 + kCacheBlocksMin;  // refcounts, too
  const uint64_t most = std::max(kCacheBlocksMin, options_.cache_bytes / block_bytes_);
  auto cache =
      MetadataCache::create(storage_, {.name = options_.name,
                                       .block_bytes = static_cast<uint32_t>(block_bytes_),
                                       .blocks = static_cast<uint32_t>(std::min(wanted, most)),
                                       .resident = false,
                                       .data = has_data_file() ? &data_ : nullptr});
  if (!cache) return std::unexpected(cache.error());
  const std::lock_guard guard(opening_);
  cache_ = std::move(*cache);
  return {};
}

Task Image::load_l1(Request& request, LifeCall& call) {
  uint64_t offset = header_.l1_offset;
  uint32_t count = header_.l1_entries;
  if (!options_.snapshot.empty()) {
    Task finding = find_snapshot(request, call, offset, count);
    if (const Status found = co_await finding; !found.ok()) co_return found;
  }
  std::vector<std::byte> table(count * sizeof(uint64_t));
  StorageBytes bytes(storage_);
  Task reading = bytes.read(request, offset, table);
  if (const Status read = co_await reading; !read.ok()) {
    co_return call.fail(read.error(),
                        fmt::format("cannot read the L1 table of {}", shown(options_.name)));
  }
  const std::vector<uint64_t> entries = numbers_of(table);
  l1_ = Table(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint64_t place = entries[i] & kOffsetMask;
    // Without a place, but it would be written.
    const bool claims_nothing = options_.writable && place == 0 && (entries[i] & kCopied) != 0;
    if ((entries[i] & kL1Reserved) != 0 || claims_nothing || !check_table_offset(place).ok()) {
      co_return call.fail(EUCLEAN, fmt::format("{} is corrupt: entry {} of its L1 table is {:#x}:"
                                               " repair it with sluice check --repair all",
                                               shown(options_.name), i, entries[i]));
    }
    l1_[i].store(entries[i], std::memory_order_relaxed);
  }
  co_return kOk;
}

Status Image::check_table_offset(uint64_t offset) const {
  const uint64_t cluster = header_.cluster_bytes();
  const bool fits =
      offset == 0 || (offset % cluster == 0 && offset < StorageBytes(storage_).exact_size());
  return Status::from_errno(fits ? 0 : EUCLEAN);
}

// The table does not say how long it is: more and more of the file is read.
Task Image::load_snapshots(Request& request, LifeCall& call, SnapshotTable& list) {
  if (header_.snapshots == 0) co_return kOk;
  StorageBytes bytes(storage_);
  const uint64_t file_bytes = bytes.exact_size();
  const uint64_t left = file_bytes - std::min(file_bytes, header_.snapshots_offset);
  for (uint64_t part = kSnapshotTablePart;; part *= 32) {
    std::vector<std::byte> table(std::min({part, left, kSnapshotTableBytesMax}));
    Task reading = bytes.read(request, header_.snapshots_offset, table);
    if (const Status read = co_await reading; !read.ok()) {
      co_return call.fail(read.error(),
                          fmt::format("cannot read the snapshots of {}", shown(options_.name)));
    }
    auto parsed = parse_snapshots(table, header_, file_bytes);
    if (parsed) {
      list = std::move(*parsed);
      co_return kOk;
    }
    if (table.size() < part) co_return call.fail(parsed.error().error, parsed.error().text);
  }
}

Task Image::find_snapshot(Request& request, LifeCall& call, uint64_t& offset, uint32_t& entries) {
  SnapshotTable list;
  Task loading = load_snapshots(request, call, list);
  if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
  const Snapshot* const found = qcow2::find_snapshot(list.snapshots, options_.snapshot);
  if (found == nullptr) {
    co_return call.fail(ENOENT, fmt::format("{} has no snapshot {}: sluice info lists them",
                                            shown(options_.name), shown(options_.snapshot)));
  }
  offset = found->l1_offset;
  entries = found->l1_entries;
  header_.size_bytes = found->disk_bytes;
  co_return kOk;
}

Task Image::load_refcount_table(Request& request, LifeCall& call) {
  const std::string name = shown(options_.name);
  std::vector<std::byte> table(header_.refcount_table_clusters * header_.cluster_bytes());
  StorageBytes bytes(storage_);
  Task reading = bytes.read(request, header_.refcount_table_offset, table);
  if (const Status read = co_await reading; !read.ok()) {
    co_return call.fail(read.error(), fmt::format("cannot read the refcount table of {}", name));
  }
  std::vector<uint64_t> entries = numbers_of(table);
  for (size_t i = 0; i < entries.size(); ++i) {
    if ((entries[i] & kRefcountTableReserved) == 0 && check_table_offset(entries[i]).ok()) continue;
    co_return call.fail(EUCLEAN,
                        fmt::format("{} is corrupt: entry {} of its refcount table is {:#x}:"
                                    " repair it with sluice check --repair all",
                                    name, i, entries[i]));
  }
  SnapshotTable snapshots;
  Task loading = load_snapshots(request, call, snapshots);
  if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
  if (!collect_metadata(entries, snapshots).ok()) {
    co_return call.fail(EUCLEAN, fmt::format("{} is corrupt: two of its tables are in one place:"
                                             " repair it with sluice check --repair all",
                                             name));
  }
  counted_ = std::make_unique<SeenBlocks>();
  clusters_ = std::make_unique<Clusters>(header_, storage_, *cache_, *metadata_, block_bytes_,
                                         std::move(entries));
  co_return kOk;
}

// EUCLEAN: tables overlap, so that changes of one would destroy another.
Status Image::collect_metadata(const std::vector<uint64_t>& refcount_blocks,
                               const SnapshotTable& snapshots) {
  const uint64_t cluster = header_.cluster_bytes();
  const uint64_t l1_bytes = l1_.size() * sizeof(uint64_t);
  const uint64_t table_bytes = header_.refcount_table_clusters * cluster;
  const EncryptionExtension luks = header_.encryption.value_or(EncryptionExtension{});
  ClusterSet found(l1_.size() + refcount_blocks.size() + (l1_bytes + table_bytes) / cluster +
                       snapshots.table_bytes / cluster + 2 * snapshots.snapshots.size() +
                       luks.bytes / cluster + bitmap_store_.claimed(),
                   header_.cluster_bits);
  snapshot_table_bytes_ = snapshots.table_bytes;
  if (metadata_ == nullptr) metadata_ = std::make_unique<ClusterSet>(0, header_.cluster_bits);
  metadata_->become(std::move(found));
  metadata_->add(0);
  metadata_->add(header_.l1_offset, l1_bytes);
  metadata_->add(header_.refcount_table_offset, table_bytes);
  metadata_->add(header_.snapshots_offset, snapshots.table_bytes);
  metadata_->add(luks.offset, luks.bytes);
  for (const Snapshot& each : snapshots.snapshots) {
    metadata_->add(each.l1_offset, each.l1_entries * sizeof(uint64_t));
  }
  bool overlaps = false;
  const auto add_new = [&](uint64_t place) {
    if (place == 0) return;
    overlaps = overlaps || metadata_->contains(place);
    metadata_->add(place);
  };
  std::ranges::for_each(refcount_blocks, add_new);
  for (const auto& entry : l1_) add_new(entry.load(std::memory_order_relaxed) & kOffsetMask);
  bitmap_store_.claim(*metadata_);
  return Status::from_errno(overlaps ? EUCLEAN : 0);
}

// What this program does not keep up to date is marked as outdated before the first change.
Task Image::begin_writing(Request& request, LifeCall& call) {
  const uint64_t cluster = header_.cluster_bytes();
  const uint64_t end = StorageBytes(storage_).exact_size();
  // The last cluster of a file may be partly there. What cannot grow has no such cluster.
  if (end % cluster != 0) std::ignore = storage_.resize((end + cluster - 1) / cluster * cluster);
  const uint64_t supported = kRawExternalData | (header_.bitmaps ? kBitmapsValid : 0);
  const uint64_t kept = header_.autoclear & supported;
  Status marked;
  if (kept != header_.autoclear) {
    Task marking = set_features(request, header_.incompatible, kept);
    marked = co_await marking;
  }
  header_.autoclear = kept;
  if (marked.ok()) {
    Task beginning = bitmap_store_.begin_writing(request, {.cache = *cache_,
                                                           .clusters = *clusters_,
                                                           .metadata = *metadata_,
                                                           .cache_block_bytes = block_bytes_});
    marked = co_await beginning;
  }
  if (marked.ok()) co_return marked;
  co_return call.fail(marked.error(), fmt::format("cannot write to {}", shown(options_.name)));
}

}  // namespace sluice::qcow2
