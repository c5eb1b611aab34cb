// The last part of check(): the space maps.
#include <fmt/format.h>

#include <array>
#include <tuple>
#include <vector>

#include "persistent/check_state.hpp"

namespace sluice::persistent {
namespace {

// One of the two space maps.
struct SpaceMapCheck {
  CheckState& state;
  const char* name;  // of what it counts
  const SpaceMapRoot& root;
  ReferenceCounts& references;
  uint64_t& used;  // blocks that are referenced
  std::vector<IndexEntry> index = {};
  bool has_counts = true;   // the tree of reference counts is whole
  uint64_t leak_first = 0;  // blocks with too high a count that follow each other
  uint64_t leak_length = 0;

  void read_metadata_index();
  void read_data_index();
  void walk_counts();
  void compare_tree();
  void compare_bitmaps();
  void compare_bitmap(uint64_t first, ConstBlock bitmap);
  void compare(uint64_t block, uint64_t recorded);
  void end_leak();
};

// Damage is told; more than one block of it at a time would only repeat that.
bool verified(CheckState& state, BlockKind kind, uint64_t number, ConstBlock block) {
  const auto found = verify(kind, number, block);
  if (!found) state.lose(found.error());
  return found.has_value();
}

void SpaceMapCheck::read_metadata_index() {
  alignas(8) std::array<std::byte, kBlockBytes> block;
  if (root.blocks > kMetadataBlocksMost) {
    return state.lose({EILSEQ, fmt::format("the metadata space map has {} blocks, and at most {} "
                                           "are possible",
                                           root.blocks, kMetadataBlocksMost)});
  }
  if (root.blocks > state.reader.blocks()) {
    state.corrupt(fmt::format("the metadata space map has {} blocks, and the device only {}",
                              root.blocks, state.reader.blocks()));
  }
  if (!state.load(root.index, BlockUse::metadata_index, block)) return;
  if (!verified(state, BlockKind::index, root.index, block)) return;
  for (uint32_t i = 0; i < root.bitmaps(); ++i) index.push_back(index_entry(block, i));
}

void SpaceMapCheck::read_data_index() {
  if (root.blocks > kDataBlocksMost) {
    state.corrupt(fmt::format("the data space map has {} blocks, and at most {} can be mapped",
                              root.blocks, kDataBlocksMost));
  }
  const auto take = [&](const NodeView& leaf) {
    for (uint32_t i = 0; i < leaf.entries(); ++i) {
      // Where one is missing, the rest would be taken for others.
      if (leaf.key(i) != index.size()) continue;
      index.push_back(load_index_entry(leaf.value(i).first<IndexEntry::kBytes>()));
    }
  };
  const Subtree found = state.walk(root.index, BlockUse::data_index, IndexEntry::kBytes, take);
  if (found.entries == root.bitmaps() && index.size() == root.bitmaps()) return;
  state.lose({EILSEQ, fmt::format("the index of the data space map has {} entries, of which the "
                                  "first {} are in order, and needs {}",
                                  found.entries, index.size(), root.bitmaps())});
}

void SpaceMapCheck::walk_counts() {
  const bool before = state.complete;
  state.complete = true;
  state.walk(root.counts, BlockUse::reference_counts, kReferenceCountBytes, [](const NodeView&) {});
  has_counts = state.complete;
  state.complete = has_counts && before;
  for (const IndexEntry& entry : index) state.refer(entry.bitmap, BlockUse::bitmap);
}

void SpaceMapCheck::compare_tree() {
  if (!has_counts) return;
  const auto take = [&](const NodeView& leaf) -> Result<void> {
    for (uint32_t i = 0; i < leaf.entries(); ++i) {
      const uint64_t block = leaf.key(i);
      const uint64_t recorded = load_little_endian<uint32_t>(leaf.value(i), 0);
      references.note_in_tree(block);
      if (recorded >= kCountInTree) {
        compare(block, recorded);
        continue;
      }
      state.corrupt(
          fmt::format("the tree of reference counts has {} for {} block {}, which "
                      "belongs into a bitmap",
                      recorded, name, block));
    }
    return {};
  };
  // It was walked through before; what could not be read has been told.
  std::ignore = for_each_leaf(state.reader, root.counts, kReferenceCountBytes, take);
  end_leak();
}

void SpaceMapCheck::compare_bitmaps() {
  alignas(8) std::array<std::byte, kBlockBytes> block;
  for (size_t i = 0; i < index.size(); ++i) {
    const uint64_t number = index[i].bitmap;
    if (number >= state.superblock.metadata_space_map.blocks) continue;  // told before
    if (auto read = state.reader.read(number, block); !read) {
      state.lose(read.error());
      continue;
    }
    if (verified(state, BlockKind::bitmap, number, block)) {
      compare_bitmap(i * kBlocksOfBitmap, block);
    }
  }
  end_leak();
}

void SpaceMapCheck::compare_bitmap(uint64_t first, ConstBlock bitmap) {
  for (uint32_t i = 0; i < kBlocksOfBitmap && first + i < root.blocks; ++i) {
    const uint64_t block = first + i;
    const ReferenceCounts::Count found = references.get(block);
    const uint32_t recorded = bitmap_count(bitmap, i);
    if (found.references != 0) ++used;
    if (recorded != kCountInTree) {
      compare(block, recorded);
      if (found.in_tree != 0) {
        state.corrupt(fmt::format("{} block {} has a count in the tree, and {} in the bitmap", name,
                                  block, recorded));
      }
    } else if (found.in_tree == 0 && has_counts) {
      state.corrupt(fmt::format("{} block {} has no count in the tree", name, block));
    }
  }
}

void SpaceMapCheck::compare(uint64_t block, uint64_t recorded) {
  const uint64_t wanted = references.get(block).references;
  if (recorded == wanted) return;
  if (recorded < wanted) {
    return state.corrupt(fmt::format("{} block {} has {} references, and its count is {}", name,
                                     block, wanted, recorded));
  }
  if (!state.complete) return;  // there may be references that were not found
  if (leak_length != 0 && leak_first + leak_length == block) {
    ++leak_length;
    return;
  }
  end_leak();
  leak_first = block;
  leak_length = 1;
}

void SpaceMapCheck::end_leak() {
  if (leak_length == 0) return;
  const std::string blocks = leak_length == 1 ? fmt::format("block {} has", leak_first)
                                              : fmt::format("blocks {} to {} have", leak_first,
                                                            leak_first + leak_length - 1);
  state.leak(leak_length, fmt::format("{} {} a higher count than references", name, blocks));
  leak_length = 0;
}

}  // namespace

void check_space_maps(CheckState& state) {
  SpaceMapCheck data{.state = state,
                     .name = "data",
                     .root = state.superblock.data_space_map,
                     .references = state.data,
                     .used = state.result.used_data_blocks};
  SpaceMapCheck metadata{.state = state,
                         .name = "metadata",
                         .root = state.superblock.metadata_space_map,
                         .references = state.metadata,
                         .used = state.result.used_metadata_blocks};
  data.read_data_index();
  metadata.read_metadata_index();
  data.walk_counts();
  metadata.walk_counts();
  for (SpaceMapCheck* const each : {&data, &metadata}) {
    each->compare_tree();
    each->compare_bitmaps();
  }
}

}  // namespace sluice::persistent
