#include "persistent/mapped_runs.hpp"

#include <fmt/format.h>

#include "persistent/tree_walk.hpp"

namespace sluice::persistent {

Result<std::optional<MappedRun>> MappedRuns::next() {
  MappedRun run;
  for (;;) {
    const auto found = find_leaf();
    if (!found) return std::unexpected(found.error());
    if (!*found) break;
    Level& leaf = *levels_.back();
    const uint64_t block = leaf.node().key(leaf.index);
    const Mapping mapping = Mapping::from(leaf.node().value64(leaf.index));
    if (run.length == 0) {
      run = {.device_block = block, .data_block = mapping.data_block, .time = mapping.time};
    } else if (run.device_block + run.length != block ||
               run.data_block + run.length != mapping.data_block || run.time != mapping.time) {
      break;
    }
    ++run.length;
    last_key_ = block;
    ++leaf.index;
  }
  if (run.length == 0) return std::nullopt;
  return run;
}

// Makes the last level a leaf with an entry that comes next. False: there are no more.
Result<bool> MappedRuns::find_leaf() {
  if (!began_) {
    began_ = true;
    if (auto opened = descend(root_); !opened) return std::unexpected(opened.error());
  }
  while (!levels_.empty()) {
    Level& last = *levels_.back();
    if (last.index == last.node().entries()) {
      levels_.pop_back();
      continue;
    }
    if (last.node().is_leaf()) return true;
    const uint64_t child = last.node().value64(last.index);
    ++last.index;
    if (auto opened = descend(child); !opened) return std::unexpected(opened.error());
  }
  return false;
}

Result<void> MappedRuns::descend(uint64_t number) {
  if (levels_.size() == kTreeLevelsMost) {
    return fail(EILSEQ, fmt::format("block {} is at level {} of a tree, which is one too many",
                                    number, kTreeLevelsMost));
  }
  auto level = std::make_unique<Level>();
  if (auto read = reader_.read(number, level->bytes); !read) return read;
  const auto node = open_node(level->bytes, number, Mapping::kBytes);
  if (!node) return std::unexpected(node.error());
  if (!levels_.empty() && node->entries() < node->fewest()) {
    return fail(EILSEQ, fmt::format("block {} is a node with {} entries, and must have {}", number,
                                    node->entries(), node->fewest()));
  }
  if (node->is_leaf() && node->entries() != 0 && last_key_ && node->key(0) <= *last_key_) {
    return fail(EILSEQ, fmt::format("block {} begins with key {}, and the one before it ends with "
                                    "{}",
                                    number, node->key(0), *last_key_));
  }
  levels_.push_back(std::move(level));
  return {};
}

}  // namespace sluice::persistent
