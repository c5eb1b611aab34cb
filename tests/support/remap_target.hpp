// Remap: a small target that tests MetadataCache and Superblock: a table of 64-bit pointers maps
// each block to a place, which is allocated when the block is first written.
//
// On the child: two superblocks, the table, the places. The superblock has the number of places
// ever allocated; it is raised durably, by a few places at a time, before the first of these is
// used, so no pointer on the disk is beyond it. A pointer is written after its data. A place that a
// discard has freed is reused once its pointer is durably gone; places that are free at a power cut
// are lost. The caller must not make concurrent requests for one block. Any thread.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "target/metadata/metadata_cache.hpp"
#include "target/metadata/superblock.hpp"

namespace sluice::test {

class Remap final : public Target {
 public:
  static constexpr uint32_t kBlockBytes = 1024;
  static constexpr uint32_t kTableBytes = 512;  // one block of the table
  static constexpr uint64_t kPointers = kTableBytes / sizeof(uint64_t);

  Remap(std::unique_ptr<Target> child, uint64_t blocks, uint32_t cached);

  // Call one of them before anything else. load() checks every pointer.
  Task format(Request& request);
  Task load(Request& request);
  std::string complaint() const { return complaint_; }
  uint64_t given_out() const { return used_; }

  static uint64_t child_bytes(uint64_t blocks, uint64_t places);

 private:
  static constexpr uint64_t kTableBegin = 8192;
  static constexpr uint64_t kReserved = 4;  // places, each time the superblock is written
  struct Freed {
    uint64_t place;
    BlockVersion after;
  };

  Task do_submit(Request& request) override;
  Task serve_blocks(Request& request);
  Task read(Request& request);
  Task write(Request& request);
  Task write_first(Request& request);
  Task discard(Request& request);
  Task flush(Request& request);
  Task pointer_of(Request& request, uint64_t block, uint64_t& place);
  Task take_place(Request& request, uint64_t& place);
  Task submit_at(Request& request, uint64_t place);

  uint64_t table_block(uint64_t block) const {
    return kTableBegin / kTableBytes + block / kPointers;
  }
  static uint64_t get(std::span<const std::byte> table, uint64_t block);
  static void set(std::span<std::byte> table, uint64_t block, uint64_t place);
  uint64_t place_offset(uint64_t place) const { return places_begin_ + (place - 1) * kBlockBytes; }

  const uint64_t blocks_;
  const uint64_t places_begin_;
  const uint64_t places_;
  std::unique_ptr<Superblock> superblock_;
  std::unique_ptr<MetadataCache> cache_;
  std::string complaint_;

  AsyncMutex allocating_;  // guards all below
  uint64_t used_ = 0;
  uint64_t reserved_ = 0;
  std::vector<Freed> freed_;
};

}  // namespace sluice::test
