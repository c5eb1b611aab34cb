// BitmapStore: reads the bitmaps.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/big_endian.hpp"
#include "core/log.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/bitmap/bitmap_store.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kTableEntryReserved = 0xff000000000001fe;
constexpr uint64_t kAllOnes = 1;  // of a table entry without a cluster

}  // namespace

void BitmapStore::end() {
  bitmaps_.set({});
  places_.clear();
  memory_bytes_ = 0;
  parts_.reset();
  current_ = spare_ = {};
  unsure_ = false;
}

Task BitmapStore::load(Request& request) {
  end();
  if (!header_.bitmaps) co_return kOk;
  Bitmaps::List list;
  std::vector<Table> tables;
  Task loading = load_directory(request, list);
  Status status = co_await loading;
  for (size_t i = 0; status.ok() && i < list.size(); ++i) {
    Task loading_table = load_table(request, *list[i], tables.emplace_back());
    status = co_await loading_table;
  }
  if (!status.ok() || !header_.bitmaps) co_return status;
  if (!are_places_distinct()) {
    give_up("two of their parts are in one cluster");
    co_return kOk;
  }
  // Now it is known that no more than the file is read.
  for (size_t i = 0; status.ok() && i < list.size(); ++i) {
    Task loading_bits = load_bits(request, *list[i], tables[i]);
    status = co_await loading_bits;
  }
  bitmaps_.set(std::move(list));
  co_return status;
}

Task BitmapStore::load_directory(Request& request, Bitmaps::List& list) {
  StorageBytes bytes(storage_);
  const BitmapsExtension place = *header_.bitmaps;
  file_bytes_ = bytes.exact_size();
  std::vector<std::byte> directory(place.directory_bytes);
  Task reading = bytes.read(request, place.directory_offset, directory);
  if (const Status read = co_await reading; !read.ok()) {
    give_up("their directory cannot be read");
    co_return kOk;
  }
  auto entries = parse_bitmaps(directory, header_, file_bytes_);
  if (!entries) {
    give_up(entries.error().text);
    co_return kOk;
  }
  uint64_t table_bytes = 0;
  for (const BitmapEntry& each : *entries) table_bytes += each.table_entries * sizeof(uint64_t);
  if (table_bytes > file_bytes_ + header_.cluster_bytes()) {
    give_up("their tables are longer than the file");
    co_return kOk;
  }
  current_ = {.offset = place.directory_offset, .clusters = clusters_of(place.directory_bytes)};
  add_places(place.directory_offset, place.directory_bytes);
  for (BitmapEntry& each : *entries) list.push_back(std::make_unique<Bitmap>(std::move(each)));
  co_return kOk;
}

// An entry of a table that contradicts the format leads nowhere.
Task BitmapStore::load_table(Request& request, Bitmap& bitmap, Table& table) {
  const BitmapEntry& entry = bitmap.entry();
  std::vector<std::byte> raw(entry.table_entries * sizeof(uint64_t));
  add_places(entry.table_offset, raw.size());
  StorageBytes bytes(storage_);
  Task reading = bytes.read(request, entry.table_offset, raw);
  const Status read = co_await reading;
  std::vector<uint64_t> clusters;
  bool is_sound = read.ok();
  for (size_t i = 0; read.ok() && i < entry.table_entries; ++i) {
    const auto place = load_big_endian<uint64_t>(raw, i * sizeof(uint64_t));
    const uint64_t offset = place & kOffsetMask;
    const bool fits = (place & kTableEntryReserved) == 0 && offset % header_.cluster_bytes() == 0 &&
                      offset < file_bytes_ && (offset == 0 || (place & kAllOnes) == 0);
    is_sound = is_sound && fits;
    if (fits && offset != 0) clusters.push_back(offset);
    table.push_back(place);
  }
  places_.insert(places_.end(), clusters.begin(), clusters.end());
  bitmap.set_place(entry.table_offset, entry.table_entries, std::move(clusters));
  if (is_sound) co_return kOk;
  table.clear();
  log().warn("{}: bitmap {} is inconsistent: its table {}", shown(name_), shown(bitmap.name()),
             read.ok() ? "is damaged" : "cannot be read");
  co_return kOk;
}

Task BitmapStore::load_bits(Request& request, Bitmap& bitmap, const Table& table) {
  const BitmapEntry& entry = bitmap.entry();
  if (entry.in_use || !entry.usable || table.empty() || !reserve(bitmap)) co_return kOk;
  const uint64_t cluster = header_.cluster_bytes();
  const uint64_t needed =
      clusters_of(Bitmap::bytes_for(header_.size_bytes, entry.granularity_bits));
  StorageBytes bytes(storage_);
  const std::span<std::byte> bits = bitmap.bytes();
  for (uint64_t i = 0; i < needed && i < table.size(); ++i) {
    const auto part = bits.subspan(i * cluster, std::min(cluster, bits.size() - i * cluster));
    if (table[i] == kAllOnes) std::ranges::fill(part, std::byte{0xff});
    if ((table[i] & kOffsetMask) == 0) continue;
    Task reading = bytes.read(request, table[i] & kOffsetMask, part);
    if (const Status read = co_await reading; !read.ok()) {
      log().warn("{}: bitmap {} is inconsistent: it cannot be read", shown(name_),
                 shown(bitmap.name()));
      bitmap.make_inconsistent();
      co_return kOk;
    }
  }
  bitmap.trim();
  bitmap.set_changed(needed != table.size());
  co_return kOk;
}

bool BitmapStore::reserve(Bitmap& bitmap) {
  const uint64_t bytes = Bitmap::bytes_for(header_.size_bytes, bitmap.entry().granularity_bits);
  if (bytes <= kMemoryMax - memory_bytes_ && bitmap.resize(header_.size_bytes).ok()) {
    memory_bytes_ += bytes;
    return true;
  }
  log().warn("{}: bitmap {} is not used: the bitmaps of an image may have {} MiB", shown(name_),
             shown(bitmap.name()), kMemoryMax >> 20);
  return false;
}

void BitmapStore::add_places(uint64_t offset, uint64_t bytes) {
  for (uint64_t i = 0; i < clusters_of(bytes); ++i) {
    places_.push_back(offset + i * header_.cluster_bytes());
  }
}

bool BitmapStore::are_places_distinct() {
  std::ranges::sort(places_);
  return std::ranges::adjacent_find(places_) == places_.end();
}

// As if a program had written to the image that does not know bitmaps.
void BitmapStore::give_up(std::string_view why) {
  log().warn("{}: its dirty bitmaps are invalid: {}", shown(name_), printable(why, 1024));
  bitmaps_.set({});
  places_.clear();
  current_ = {};
  header_.bitmaps.reset();
}

void BitmapStore::claim(ClusterSet& metadata) {
  const auto is_taken = [&](uint64_t place) { return metadata.contains(place); };
  if (std::ranges::any_of(places_, is_taken)) {
    return give_up("a part of them is in the cluster of another table");
  }
  for (const uint64_t place : places_) metadata.add(place);
}

}  // namespace sluice::qcow2
