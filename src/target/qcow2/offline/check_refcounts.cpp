#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/big_endian.hpp"
#include "target/qcow2/offline/check_steps.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/refcount_block.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kBlockEntryReserved = 0x1ff;
constexpr uint64_t kClusterGroup = ReferenceMap::kGroup;

void check_refcount_table(int descriptor, Check& check);
void check_block_place(Check& check, uint64_t index, uint64_t entry, std::set<uint64_t>& seen);
void compare_all(int descriptor, Check& check);

// Goes through the groups of clusters in their order, with their refcounts. Clusters in no group
// have no references.
struct Comparison {
  Check& check;
  std::map<uint64_t, ReferenceMap::Group>::const_iterator next;
  uint64_t end = 0;  // after the last cluster that has a refcount or a reference
  std::vector<uint64_t> too_low = {};

  void compare_block(uint64_t index, std::span<const std::byte> block);
  void skip_block(uint64_t index);
  // The groups before this cluster that have no refcount block.
  void compare_uncovered(uint64_t before);
  void compare(uint64_t first, const ReferenceMap::Group& group,
               std::span<const std::byte> refcounts);
  void compare_cluster(uint64_t cluster, const ClusterReferences& found, uint64_t refcount);
  void compare_flags(uint64_t cluster, const ClusterReferences& found, uint64_t refcount);
};

}  // namespace

void check_refcounts(int descriptor, Check& check) {
  check_refcount_table(descriptor, check);
  compare_all(descriptor, check);
}

namespace {

void check_refcount_table(int descriptor, Check& check) {
  const Header& header = check.header;
  const uint64_t length = header.refcount_table_clusters * header.cluster_bytes();
  if (!count_references(check, header.refcount_table_offset, length, kUseMetadata, 1,
                        "the refcount table")) {
    check.complete = false;
    return;
  }
  const auto bytes = read_image(descriptor, header.refcount_table_offset, length);
  if (!bytes) return check.unread(bytes.error());
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < length / 8; ++i) {
    const auto entry = load_big_endian<uint64_t>(*bytes, i * 8);
    if (entry != 0) check_block_place(check, i, entry, seen);
  }
}

// A block that several entries refer to is read once, so that the time is bounded.
void check_block_place(Check& check, uint64_t index, uint64_t entry, std::set<uint64_t>& seen) {
  const uint64_t cluster_bytes = check.header.cluster_bytes();
  const uint64_t offset = entry & ~kBlockEntryReserved;
  const auto refuse = [&](std::string_view why) {
    check.rebuild = true;
    check.corrupt(1, fmt::format("entry {} of the refcount table, {:#x}, {}", index, entry, why));
  };
  const bool is_odd = (entry & kBlockEntryReserved) != 0;
  if (is_odd) refuse("has reserved bits set");
  if (offset % cluster_bytes != 0) {
    if (!is_odd) refuse("is not aligned to a cluster");
    return;
  }
  if (offset >= check.references.clusters() * cluster_bytes) {
    if (!is_odd) refuse("is beyond the end of the file");
    return;
  }
  if (!is_odd) {
    check.references.add(offset, cluster_bytes, kUseMetadata);
    check.counted_blocks.push_back(offset);
    if (check.references.at(offset / cluster_bytes).count != 1) {
      refuse("refers to a cluster that has other users");
    }
  }
  if (seen.insert(offset).second) check.refcount_blocks[index] = offset;
}

void compare_all(int descriptor, Check& check) {
  Comparison comparison{.check = check, .next = check.references.groups().begin()};
  for (const auto& [index, offset] : check.refcount_blocks) {
    const auto block = read_image(descriptor, offset, check.header.cluster_bytes());
    if (block) {
      comparison.compare_block(index, *block);
    } else {
      check.unread(block.error());
      comparison.skip_block(index);
    }
  }
  comparison.compare_uncovered(UINT64_MAX);
  check.result.image_end_offset = comparison.end * check.header.cluster_bytes();
  for (const uint64_t cluster : comparison.too_low) check.references.note_too_low(cluster);
}

void Comparison::compare_block(uint64_t index, std::span<const std::byte> block) {
  const uint64_t per_block = check.header.refcounts_per_block();
  const uint64_t first = index * per_block;
  const uint64_t group_bytes = kClusterGroup / 8 << check.header.refcount_order;
  compare_uncovered(first);
  for (uint64_t i = 0; i < per_block && first + i < check.references.clusters();
       i += kClusterGroup) {
    const auto refcounts = block.subspan(i / kClusterGroup * group_bytes, group_bytes);
    if (next != check.references.groups().end() && next->first == first + i) {
      compare(first + i, next->second, refcounts);
      ++next;
    } else if (std::ranges::any_of(refcounts, [](std::byte each) { return each != std::byte{}; })) {
      compare(first + i, {}, refcounts);
    }
  }
}

void Comparison::skip_block(uint64_t index) {
  const uint64_t per_block = check.header.refcounts_per_block();
  compare_uncovered(index * per_block);
  next = check.references.groups().lower_bound((index + 1) * per_block);
}

void Comparison::compare_uncovered(uint64_t before) {
  for (; next != check.references.groups().end() && next->first < before; ++next) {
    const bool is_used = std::ranges::any_of(
        next->second, [](const ClusterReferences& each) { return each.count > 0; });
    if (!is_used) continue;
    check.rebuild = true;
    compare(next->first, next->second, {});
  }
}

// `refcounts`: of the group; empty: all are zero.
void Comparison::compare(uint64_t first, const ReferenceMap::Group& group,
                         std::span<const std::byte> refcounts) {
  for (uint64_t i = 0; i < kClusterGroup && first + i < check.references.clusters(); ++i) {
    const uint64_t refcount =
        refcounts.empty() ? 0 : get_refcount(refcounts, check.header.refcount_order, i);
    compare_cluster(first + i, group[i], refcount);
  }
}

void Comparison::compare_cluster(uint64_t cluster, const ClusterReferences& found,
                                 uint64_t refcount) {
  if (refcount == 0 && found.count == 0) return;
  end = cluster + 1;
  const uint64_t offset = cluster * check.header.cluster_bytes();
  const uint64_t wanted = check.references.wanted(found);
  if (refcount < wanted) too_low.push_back(cluster);
  if (found.overlaps()) {
    check.corrupt(1, fmt::format("the cluster at offset {} has several users that exclude each "
                                 "other",
                                 offset));
  } else if (refcount < wanted) {
    check.corrupt(1, fmt::format("the cluster at offset {} has refcount {}, but {} references",
                                 offset, refcount, found.count));
  } else if (refcount > wanted) {
    ++check.result.leaks;
    check.result.say(
        fmt::format("leak: the cluster at offset {} has refcount {}, but {} references", offset,
                    refcount, found.count));
  }
  compare_flags(cluster, found, refcount);
}

// The flag of an entry says that the refcount is one.
void Comparison::compare_flags(uint64_t cluster, const ClusterReferences& found,
                               uint64_t refcount) {
  const uint64_t wrong = refcount == 1 ? found.not_copied : found.copied;
  if (wrong == 0) return;
  check.corrupt(wrong, fmt::format("the flag COPIED of the entry for the cluster at offset {}, "
                                   "which has refcount {}, is wrong",
                                   cluster * check.header.cluster_bytes(), refcount));
}

}  // namespace
}  // namespace sluice::qcow2
