// ReferenceMap: how often each host cluster of an image is referenced, and for what, as found by a
// walk through its tables.
//
// Takes memory for the clusters that are referenced, in groups of neighbours, and none for others:
// neither a large sparse file nor a header that promises much makes it large. Used by one thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

// What a cluster is used for. Two uses of one cluster exclude each other, except those of
// subclusters of the guest's data; metadata other than L2 tables has one user only.
enum ClusterUse : uint8_t { kUseMetadata = 1, kUseL2 = 2, kUseData = 4 };

struct ClusterReferences {
  static constexpr uint32_t kCountMax = UINT32_MAX;

  uint32_t count = 0;  // at most kCountMax; may be more than a refcount of the image expresses
  uint8_t uses = 0;    // of ClusterUse
  // Entries of the active tables that refer to the cluster, with the flag COPIED and without; at
  // most 255.
  uint8_t copied = 0;
  uint8_t not_copied = 0;
  bool too_low = false;  // its refcount is lower than `count`

  bool overlaps() const { return (uses & (uses - 1)) != 0 || (uses == kUseMetadata && count > 1); }
};

class ReferenceMap {
 public:
  static constexpr uint64_t kGroup = 32;
  using Group = std::array<ClusterReferences, kGroup>;

  // `file_bytes`: a reference may reach beyond the end of the file by less than a cluster.
  ReferenceMap(const Header& header, uint64_t file_bytes);
  ReferenceMap(ReferenceMap&&) = default;

  // Counts `times` references to each cluster that the range touches. `overflows`: the references
  // that a refcount of this image cannot express. nullopt: the range ends beyond the file, and
  // nothing was counted.
  struct Counted {
    uint64_t overflows = 0;
  };
  std::optional<Counted> add(uint64_t offset, uint64_t length, ClusterUse use, uint64_t times = 1);
  // Takes one reference from each cluster that the range touches, and that add() has counted.
  void remove(uint64_t offset, uint64_t length);
  // For the first cluster of an entry of an active table, after add().
  void note_copied(uint64_t offset, bool is_copied, uint64_t times);

  ClusterReferences at(uint64_t cluster) const;
  // The refcount that a cluster with these references should have.
  uint64_t wanted(const ClusterReferences& found) const {
    return std::min<uint64_t>(found.count, refcount_max_);
  }
  void note_too_low(uint64_t cluster) { make(cluster).too_low = true; }
  // In the order of the clusters: the first one of each group, with the group.
  const std::map<uint64_t, Group>& groups() const { return groups_; }
  // Behind the last cluster that is referenced.
  uint64_t end_of_use() const;
  // The clusters of the file, and those that are referenced beyond its end.
  uint64_t clusters() const { return clusters_; }

 private:
  ClusterReferences& make(uint64_t cluster);

  const uint32_t cluster_bits_;
  const uint64_t file_bytes_;
  const uint64_t refcount_max_;
  uint64_t clusters_;
  std::map<uint64_t, Group> groups_;
  std::pair<const uint64_t, Group>* last_ = nullptr;  // the group that was used last
};

}  // namespace sluice::qcow2
