// MappingCache: the mappings of the volumes of a pool that were used lately, for lookups without a
// lock.
//
// Mappings are kept in groups of neighbours. A group is in one of a few frames, and takes the place
// of another one there: memory is bounded, and all of it is allocated at the start. Each frame has
// a sequence number, which is odd while it changes: a lookup that meets a change finds nothing.
//
// find() may be called by any thread; everything else by one thread at a time: the holder of the
// pool.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

namespace sluice::thin {

// Where a block of a volume is. A value.
class Place {
 public:
  Place() = default;  // nowhere: the block is not mapped
  Place(uint64_t data_block, bool is_shared)
      : word_(data_block << 2 | uint64_t{is_shared} << 1 | 1) {}
  static Place from(uint64_t word) {
    Place place;
    place.word_ = word;
    return place;
  }

  bool is_mapped() const { return (word_ & 1) != 0; }
  // A write must not go there: another volume may have the block too.
  bool is_shared() const { return (word_ & 2) != 0; }
  uint64_t data_block() const { return word_ >> 2; }
  uint64_t word() const { return word_; }

 private:
  uint64_t word_ = 0;
};

// A volume as it is between two snapshots of it: what was cached before one is not found after it.
struct VolumeView {
  uint32_t id = 0;  // below 2^24
  uint32_t generation = 0;
  uint64_t word() const { return uint64_t{id} << 32 | generation; }
};

class MappingCache {
 public:
  static constexpr uint64_t kGroup = 64;  // blocks
  using Group = std::array<Place, kGroup>;

  explicit MappingCache(uint64_t bytes);

  // Nothing: it is not known.
  std::optional<Place> find(VolumeView volume, uint64_t block) const;

  // `block`: any of the group.
  void put(VolumeView volume, uint64_t block, const Group& group);
  // Has no effect on a group that is not here.
  void change(VolumeView volume, uint64_t block, Place place);

  uint64_t bytes() const { return frames_.size() * sizeof(Frame); }

 private:
  static constexpr size_t kWays = 4;
  static constexpr uint64_t kNobody = UINT64_MAX;

  struct alignas(64) Frame {
    std::atomic<uint64_t> sequence = 0;
    std::atomic<uint64_t> volume = kNobody;
    std::atomic<uint64_t> number = 0;  // of the group
    std::array<std::atomic<uint64_t>, kGroup> places{};
  };

  // The first frame of those that may have the group.
  size_t first_way(uint64_t volume, uint64_t number) const;
  Frame* find_frame(uint64_t volume, uint64_t number);

  std::vector<Frame> frames_;
  const uint64_t sets_mask_;
  uint32_t next_way_ = 0;
};

}  // namespace sluice::thin
