// Bitmap: a dirty bitmap of an open image: its entry in the directory, and its bits in memory.
//
// mark() and first_run() are for any thread, at any time; everything else is for one caller while
// nobody uses the bitmap.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/status.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace sluice::qcow2 {

class Bitmap {
 public:
  // Without bits: it is inconsistent until it has some.
  explicit Bitmap(BitmapEntry entry) : entry_(std::move(entry)) {}

  const std::string& name() const { return entry_.name; }
  // Its bits are not known: it can only be removed.
  bool inconsistent() const { return bits_ == nullptr; }
  bool follows_writes() const { return entry_.automatic && !inconsistent(); }
  void follow_writes(bool yes) { entry_.automatic = yes; }
  uint64_t granularity_bytes() const { return uint64_t{1} << entry_.granularity_bits; }
  const BitmapEntry& entry() const { return entry_; }

  // Marks all that the range touches. What is behind the end is left out.
  void mark(uint64_t offset, uint64_t length);
  // How many bytes from `offset` on are alike, up to `length`; `offset` is before the end.
  uint64_t first_run(uint64_t offset, uint64_t length, bool& dirty) const;

  // Gives it bits for a disk of this size; new ones are not set. EFBIG: more than QEMU allows;
  // ENOMEM. On failure nothing has changed.
  Status resize(uint64_t disk_bytes);
  void clear();
  // The bits are given up.
  void make_inconsistent() { bits_.reset(); }

  // The bits as the image has them: the lowest one of the first byte comes first.
  std::span<std::byte> bytes() { return {reinterpret_cast<std::byte*>(bits_.get()), bytes_}; }
  // Clears what was loaded behind the last bit.
  void trim();
  static uint64_t bytes_for(uint64_t disk_bytes, uint32_t granularity_bits);

  // --- What the image has of it.
  void set_in_use(bool in_use) { entry_.in_use = in_use; }
  void set_place(uint64_t table_offset, uint32_t table_entries, std::vector<uint64_t> clusters) {
    entry_.table_offset = table_offset;
    entry_.table_entries = table_entries;
    clusters_ = std::move(clusters);
  }
  const std::vector<uint64_t>& clusters() const { return clusters_; }  // of bits
  // The bits are not those that the image has.
  bool changed() const { return changed_.load(std::memory_order_relaxed); }
  void set_changed(bool changed) { changed_.store(changed, std::memory_order_relaxed); }

 private:
  struct Free {
    void operator()(uint64_t* memory) const { std::free(memory); }
  };
  using Word = std::atomic_ref<uint64_t>;

  void set_bits(uint64_t word, uint64_t wanted);
  uint64_t word(uint64_t index) const { return Word(bits_[index]).load(std::memory_order_relaxed); }

  BitmapEntry entry_;
  std::vector<uint64_t> clusters_;
  std::unique_ptr<uint64_t[], Free> bits_;  // null: inconsistent
  uint64_t count_ = 0;                      // of bits
  uint64_t bytes_ = 0;                      // of memory
  std::atomic<bool> changed_ = false;
};

}  // namespace sluice::qcow2
