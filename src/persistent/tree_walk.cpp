#include "persistent/tree_walk.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace sluice::persistent {
namespace {

// The keys that a node may have: from `first` on, and before `end`.
struct KeyRange {
  uint64_t first = 0;
  std::optional<uint64_t> end = std::nullopt;  // nothing: up to the largest
};

class Walk {
 public:
  Walk(BlockReader& reader, uint32_t value_bytes, TreeVisitor& visitor)
      : reader_(reader), value_bytes_(value_bytes), visitor_(visitor) {}

  // Of the node and all below it; false: the visitor has ended the walk.
  bool visit(uint64_t number, uint32_t depth, KeyRange range, Subtree& found) {
    if (const auto known = visitor_.enter(number)) {
      found = *known;
      if (found.entries == 0) return true;
      const auto placed = check_keys(number, found.first_key, found.last_key, range);
      return placed || visitor_.fault(placed.error());
    }
    const bool goes_on = go_into(number, depth, range, found);
    visitor_.leave(number, found);
    return goes_on;
  }

 private:
  bool go_into(uint64_t number, uint32_t depth, KeyRange range, Subtree& found) {
    if (depth == kTreeLevelsMost) {
      return visitor_.fault(
          {EILSEQ,
           fmt::format("block {} is at level {} of a tree, which is one too many", number, depth)});
    }
    alignas(8) std::array<std::byte, kBlockBytes> bytes;
    if (auto read = reader_.read(number, bytes); !read) return visitor_.fault(read.error());
    const auto node = open_node(bytes, number, value_bytes_);
    if (!node) return visitor_.fault(node.error());
    if (auto placed = check_place(*node, number, depth, range); !placed) {
      return visitor_.fault(placed.error());
    }
    if (!node->is_leaf()) return visit_children(*node, number, depth, range, found);
    found.levels = 0;
    found.entries = node->entries();
    if (found.entries != 0) {
      found.first_key = node->key(0);
      found.last_key = node->key(node->entries() - 1);
    }
    return visitor_.leaf(*node);
  }

  static Result<void> check_place(const NodeView& node, uint64_t number, uint32_t depth,
                                  const KeyRange& range) {
    const uint32_t entries = node.entries();
    if (depth != 0 && entries < node.fewest()) {
      return fail(EILSEQ, fmt::format("block {} is a node with {} entries, and must have {}",
                                      number, entries, node.fewest()));
    }
    if (entries == 0) return {};
    return check_keys(number, node.key(0), node.key(entries - 1), range);
  }

  static Result<void> check_keys(uint64_t number, uint64_t first, uint64_t last,
                                 const KeyRange& range) {
    if (first >= range.first && (!range.end || last < *range.end)) return {};
    return fail(EILSEQ,
                fmt::format("block {} has the keys {} to {}, and only those from {}{} belong there",
                            number, first, last, range.first,
                            range.end ? fmt::format(" to before {}", *range.end) : ""));
  }

  bool visit_children(const NodeView& node, uint64_t number, uint32_t depth, const KeyRange& range,
                      Subtree& found) {
    std::optional<uint32_t> below;
    for (uint32_t i = 0; i < node.entries(); ++i) {
      const bool is_last = i + 1 == node.entries();
      const KeyRange part{node.key(i), is_last ? range.end : std::optional(node.key(i + 1))};
      Subtree child;
      if (!visit(node.value64(i), depth + 1, part, child)) return false;
      if (child.levels && below && *child.levels != *below) {
        const bool goes_on = visitor_.fault(
            {EILSEQ, fmt::format("block {} has children with {} and with {} levels below them",
                                 number, *below, *child.levels)});
        if (!goes_on) return false;
      }
      if (child.levels) below = child.levels;
      if (child.entries == 0) continue;
      if (found.entries == 0) found.first_key = child.first_key;
      found.last_key = child.last_key;
      found.entries += child.entries;
    }
    if (below) found.levels = *below + 1;
    return true;
  }

  BlockReader& reader_;
  const uint32_t value_bytes_;
  TreeVisitor& visitor_;
};

class LeafTaker final : public TreeVisitor {
 public:
  explicit LeafTaker(const std::function<Result<void>(const NodeView&)>& take) : take_(take) {}

  bool leaf(const NodeView& node) override {
    result = take_(node);
    return result.has_value();
  }
  bool fault(Error error) override {
    result = std::unexpected(std::move(error));
    return false;
  }

  Result<void> result = {};

 private:
  const std::function<Result<void>(const NodeView&)>& take_;
};

}  // namespace

std::optional<Subtree> TreeVisitor::enter(uint64_t) { return std::nullopt; }

void TreeVisitor::leave(uint64_t, const Subtree&) {}

bool walk_tree(BlockReader& reader, uint64_t root, uint32_t value_bytes, TreeVisitor& visitor) {
  Subtree found;
  return Walk(reader, value_bytes, visitor).visit(root, 0, {}, found);
}

Result<void> for_each_leaf(BlockReader& reader, uint64_t root, uint32_t value_bytes,
                           const std::function<Result<void>(const NodeView&)>& take) {
  LeafTaker taker(take);
  walk_tree(reader, root, value_bytes, taker);
  return std::move(taker.result);
}

}  // namespace sluice::persistent
