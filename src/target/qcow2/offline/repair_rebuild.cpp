#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/big_endian.hpp"
#include "core/step.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair_steps.hpp"
#include "target/qcow2/refcount_block.hpp"

namespace sluice::qcow2 {
namespace {

// In the header: offset and clusters of the table, and the width of refcounts.
constexpr size_t kRefcountTablePlace = 48;
constexpr size_t kRefcountOrderPlace = 96;

// Where the new table and its blocks go: behind all clusters that are used, those of the old ones
// included; and where no entry refers to that pointed behind the end of the file before.
struct NewPlace {
  uint64_t first = 0;  // cluster of the table, which the blocks follow
  uint64_t table_clusters = 1;
  std::set<uint64_t> blocks = {};  // their places in the table

  uint64_t end() const { return first + table_clusters + blocks.size(); }
};

NewPlace find_place(const Check& check, uint64_t first);
Result<void> switch_to(int descriptor, const Header& header, const NewPlace& place);
NewPlace plan_rebuild(const Check& check, uint64_t first);
Result<void> write_new_blocks(int descriptor, const Check& check, const NewPlace& place);

}  // namespace

// The old table and blocks are free when the header refers to the new ones.
Result<void> rebuild_refcounts(int descriptor, Check& check) {
  const Header& header = check.header;
  const uint64_t cluster_bytes = header.cluster_bytes();
  const uint64_t end = check.references.end_of_use();
  check.references.remove(header.refcount_table_offset,
                          header.refcount_table_clusters * cluster_bytes);
  for (const uint64_t each : check.counted_blocks) check.references.remove(each, cluster_bytes);
  const NewPlace place = find_place(check, end);
  if (place.table_clusters * cluster_bytes > kRefcountTableBytesMax ||
      place.end() > uint64_t{INT64_MAX} / cluster_bytes) {
    return fail(EFBIG,
                "the file is too large for a new refcount table: convert the image with"
                " sluice convert");
  }
  if (auto done = write_new_blocks(descriptor, check, place); !done) return done;
  std::vector<std::byte> table(place.table_clusters * cluster_bytes);
  uint64_t cluster = place.first + place.table_clusters;
  for (const uint64_t index : place.blocks) {
    store_big_endian(table, index * 8, cluster++ * cluster_bytes);
  }
  if (auto done = write_image(descriptor, place.first * cluster_bytes, table); !done) return done;
  if (auto done = sync_image(descriptor); !done) return done;
  step("repair: rebuilt");
  return switch_to(descriptor, header, place);
}

namespace {

// In one sector. Version 2 has refcounts of 16 bits, and no field for that.
Result<void> switch_to(int descriptor, const Header& header, const NewPlace& place) {
  const size_t length = header.version < 3 ? 12 : kRefcountOrderPlace + 4 - kRefcountTablePlace;
  auto fields = read_image(descriptor, kRefcountTablePlace, length);
  if (!fields) return std::unexpected(fields.error());
  store_big_endian(std::span(*fields), 0, place.first * header.cluster_bytes());
  store_big_endian(std::span(*fields), 8, static_cast<uint32_t>(place.table_clusters));
  if (header.version >= 3) {
    store_big_endian(std::span(*fields), kRefcountOrderPlace - kRefcountTablePlace,
                     header.refcount_order);
  }
  if (auto done = write_image(descriptor, kRefcountTablePlace, *fields); !done) return done;
  return sync_image(descriptor);
}

// The first one from `first` on.
NewPlace find_place(const Check& check, uint64_t first) {
  NewPlace place = plan_rebuild(check, first);
  while (true) {
    const uint64_t length = place.end() - place.first;
    const auto hit = check.beyond.lower_bound(first);
    if (hit != check.beyond.end() && *hit < first + length) {
      first = *hit + 1;
    } else if (place.first == first) {
      return place;
    } else {
      place = plan_rebuild(check, first);
    }
  }
}

// The blocks count themselves, which may take more blocks.
NewPlace plan_rebuild(const Check& check, uint64_t first_free) {
  const uint64_t per_block = check.header.refcounts_per_block();
  NewPlace place{.first = first_free};
  for (const auto& [first, group] : check.references.groups()) {
    const bool is_used =
        std::ranges::any_of(group, [](const ClusterReferences& each) { return each.count > 0; });
    if (is_used) place.blocks.insert(first / per_block);
  }
  for (uint64_t end = 0; end != place.end();) {
    end = place.end();
    for (uint64_t i = place.first / per_block; i <= (end - 1) / per_block; ++i) {
      place.blocks.insert(i);
    }
    const uint64_t table_bytes = (*place.blocks.rbegin() + 1) * 8;
    const uint64_t cluster_bytes = check.header.cluster_bytes();
    place.table_clusters = (table_bytes + cluster_bytes - 1) / cluster_bytes;
  }
  return place;
}

Result<void> write_new_blocks(int descriptor, const Check& check, const NewPlace& place) {
  const uint64_t per_block = check.header.refcounts_per_block();
  const uint32_t order = check.header.refcount_order;
  const auto& groups = check.references.groups();
  uint64_t cluster = place.first + place.table_clusters;
  std::vector<std::byte> block(check.header.cluster_bytes());
  for (const uint64_t index : place.blocks) {
    std::ranges::fill(block, std::byte{0});
    const uint64_t first = index * per_block;
    for (auto each = groups.lower_bound(first);
         each != groups.end() && each->first < first + per_block; ++each) {
      for (uint64_t i = 0; i < ReferenceMap::kGroup; ++i) {
        set_refcount(block, order, each->first - first + i,
                     check.references.wanted(each->second[i]));
      }
    }
    for (uint64_t own = std::max(first, place.first);
         own < std::min(first + per_block, place.end()); ++own) {
      set_refcount(block, order, own - first, 1);
    }
    const uint64_t offset = cluster++ * check.header.cluster_bytes();
    if (auto done = write_image(descriptor, offset, block); !done) return done;
  }
  return {};
}

}  // namespace
}  // namespace sluice::qcow2
