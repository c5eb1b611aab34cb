// BitmapStore: reads the bitmaps of an image, and writes them.
//
// While an image is open for writing all bitmaps are marked as in use in their directory: after a
// crash they are visibly inconsistent. The end stores them: bits, tables, a new directory, each
// durable before what leads to it, and last the one write to the header that makes them valid.
//
// On the control path, one call at a time. Order of calls: load(); for writing claim() and
// begin_writing(); then the others, store() as the last one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "target/metadata/metadata_cache.hpp"
#include "target/qcow2/bitmap/bitmaps.hpp"
#include "target/qcow2/clusters.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {

class BitmapStore {
 public:
  // Of all bits in memory. Bitmaps beyond it are inconsistent.
  static constexpr uint64_t kMemoryMax = uint64_t{1} << 30;

  struct Parts {
    MetadataCache& cache;
    Clusters& clusters;
    ClusterSet& metadata;
    uint64_t cache_block_bytes;
  };

  // `header`: of the open image, in which the extension is kept up to date.
  BitmapStore(std::string name, Header& header, Target& storage, Bitmaps& bitmaps)
      : name_(std::move(name)), header_(header), storage_(storage), bitmaps_(bitmaps) {}

  // Reads them. Bitmaps that cannot be read, or contradict the format, are inconsistent or, if the
  // directory does, not there; the log tells.
  Task load(Request& request);
  // The number of clusters that claim() adds.
  size_t claimed() const { return places_.size(); }
  // Adds their clusters to `metadata`. If one is there already, the image has no valid bitmaps.
  void claim(ClusterSet& metadata);
  // Marks all as in use, durably.
  Task begin_writing(Request& request, Parts parts);

  // Between begin_writing() and end(), which forgets everything.
  bool is_writing() const { return parts_.has_value(); }
  void end();

  // What the bits of one more bitmap may take.
  uint64_t bytes_max() const;
  // Durable at once, as one that is in use. ENOSPC, EFBIG, EIO ...: see why(). The new bitmap is
  // not in the list yet.
  Task add(Request& request, BitmapEntry entry, std::unique_ptr<Bitmap>& made);
  // Takes it off the directory, durably; it is still in the list.
  Task remove(Request& request, const Bitmap& bitmap);
  // For a disk of this size. EFBIG, ENOMEM; may_grow() changes nothing.
  Status may_grow(uint64_t disk_bytes) const;
  Status grow(uint64_t disk_bytes);
  // When nothing is written any more. What cannot be stored stays marked as in use.
  Task store(Request& request);
  // The reason for a failure, if the errno does not say it all.
  const std::string& why() const { return why_; }

 private:
  using Table = std::vector<uint64_t>;
  struct Room {  // for a directory
    uint64_t offset = 0;
    uint64_t clusters = 0;
  };

  // --- bitmap_load.cpp
  Task load_directory(Request& request, Bitmaps::List& list);
  Task load_table(Request& request, Bitmap& bitmap, Table& table);
  Task load_bits(Request& request, Bitmap& bitmap, const Table& table);
  bool reserve(Bitmap& bitmap);
  void add_places(uint64_t offset, uint64_t bytes);
  bool are_places_distinct();
  void give_up(std::string_view why);

  // --- bitmap_store.cpp
  Task store_bits(Request& request, Bitmap& bitmap);
  Task write_bits(Request& request, Bitmap& bitmap, Table& table);
  Task write_table(Request& request, const Table& table, uint64_t& offset);
  Task write_storage(Request& request, uint64_t offset, std::span<std::byte> bytes);
  void free_bitmap(const BitmapEntry& entry, const std::vector<uint64_t>& clusters);
  void free_clusters(uint64_t offset, uint64_t count);
  uint64_t table_clusters(uint64_t entries) const;

  // --- bitmap_directory.cpp
  Task write_directory(Request& request, const std::vector<BitmapEntry>& entries);
  void keep_spare(const Room& room);
  Task take_room(Request& request, uint64_t bytes, Room& room);
  Task fill_room(Request& request, const Room& room, std::span<const std::byte> bytes);
  Task switch_to(Request& request, const std::optional<BitmapsExtension>& wanted);
  Task change_header(Request& request, size_t place, std::span<const std::byte> bytes);
  uint64_t clusters_of(uint64_t bytes) const {
    return (bytes + header_.cluster_bytes() - 1) / header_.cluster_bytes();
  }

  const std::string name_;
  Header& header_;
  Target& storage_;
  Bitmaps& bitmaps_;
  std::vector<uint64_t> places_;  // of all clusters that bitmaps had when they were loaded
  uint64_t file_bytes_ = 0;       // then
  uint64_t memory_bytes_ = 0;
  std::optional<Parts> parts_;  // once it is written to
  Room current_;                // of the directory
  Room spare_;                  // of the one before
  bool unsure_ = false;         // the image may have the old directory or the new one
  std::string why_;
};

}  // namespace sluice::qcow2
