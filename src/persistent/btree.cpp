#include "persistent/btree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "persistent/tree_walk.hpp"

namespace sluice::persistent {
namespace {

std::unexpected<Error> too_deep(uint64_t number) {
  return fail(EILSEQ, fmt::format("block {} is at level {} of a tree, which is one too many",
                                  number, kTreeLevelsMost));
}

std::array<std::byte, kChildBytes> child_value(uint64_t number) {
  std::array<std::byte, kChildBytes> value;
  store_little_endian(value, 0, number);
  return value;
}

// How many entries move to a new node on the right. Where keys ascend, those of the left node are
// never touched again, so it keeps as many as it may.
uint32_t moved_entries(const NodeView& full, uint64_t key) {
  const bool ascends = key > full.key(full.entries() - 1);
  return ascends ? full.fewest() : full.entries() / 2;
}

}  // namespace

Result<uint64_t> BTree::create() {
  const auto made = make(true);
  if (!made) return std::unexpected(made.error());
  return made->number;
}

Result<std::optional<BTree::Value>> BTree::find(uint64_t root, uint64_t key) {
  uint64_t number = root;
  for (uint32_t depth = 0; depth < kTreeLevelsMost; ++depth) {
    const auto node = open(number);
    if (!node) return std::unexpected(node.error());
    if (node->is_leaf()) {
      const auto index = node->find(key);
      if (!index) return std::nullopt;
      return node->value(*index);
    }
    const auto index = node->at_most(key);
    if (!index) return std::nullopt;
    number = node->value64(*index);
  }
  return too_deep(number);
}

Result<bool> BTree::visit(uint64_t root, uint64_t begin, uint64_t end, const Take& take) {
  return visit_below(root, begin, end, take, 0);
}

Result<bool> BTree::visit_below(uint64_t number, uint64_t begin, uint64_t end, const Take& take,
                                uint32_t depth) {
  if (depth == kTreeLevelsMost) return too_deep(number);
  const auto node = open(number);
  if (!node) return std::unexpected(node.error());
  for (uint32_t i = node->at_most(begin).value_or(0); i < node->entries(); ++i) {
    const uint64_t key = node->key(i);
    if (key >= end) break;
    if (!node->is_leaf()) {
      auto below = visit_below(node->value64(i), begin, end, take, depth + 1);
      if (!below || !*below) return below;
    } else if (key >= begin && !take(key, node->value(i))) {
      return false;
    }
  }
  return true;
}

Result<bool> BTree::insert(uint64_t& root, uint64_t key, Value value) {
  auto at = shadow(root);
  if (!at) return std::unexpected(at.error());
  root = at->number;
  auto full = must_split(at->node, key);
  if (full && *full) {
    if (auto split = split_root(at->node, key); !split) return std::unexpected(split.error());
  }
  for (uint32_t depth = 0; depth < kTreeLevelsMost; ++depth) {
    if (!full) return std::unexpected(full.error());
    if (at->node.is_leaf()) return put(at->node, key, value);
    Node parent = at->node;
    // A key smaller than all belongs to the first child.
    if (key < parent.key(0)) parent.set_key(0, key);
    const uint32_t index = *parent.at_most(key);
    at = shadow_child(parent, index);
    if (!at) return std::unexpected(at.error());
    full = must_split(at->node, key);
    if (!full || !*full) continue;
    if (auto split = split_child(parent, index, at->node, key); !split) {
      return std::unexpected(split.error());
    }
    at = shadow_child(parent, *parent.at_most(key));
    if (!at) return std::unexpected(at.error());
  }
  return too_deep(root);
}

Result<bool> BTree::remove(uint64_t& root, uint64_t key) {
  const auto found = find(root, key);
  if (!found) return std::unexpected(found.error());
  if (!*found) return false;
  auto at = shadow(root);
  if (!at) return std::unexpected(at.error());
  root = at->number;
  if (auto removed = remove_below(at->node, key, 0); !removed) {
    return std::unexpected(removed.error());
  }
  if (auto shrunk = shrink_root(at->node); !shrunk) return std::unexpected(shrunk.error());
  return true;
}

Result<void> BTree::release(uint64_t root) { return release_below(root, 0); }

Result<NodeView> BTree::open(uint64_t number) {
  const auto block = blocks_.read(number, BlockKind::node);
  if (!block) return std::unexpected(block.error());
  return check_node(*block, number, value_bytes_);
}

Result<BTree::Shadow> BTree::make(bool is_leaf) {
  const auto number = space_.allocate();
  if (!number) return std::unexpected(number.error());
  const Block block = blocks_.make(*number, BlockKind::node);
  return Shadow{*number, Node::format(block, is_leaf, is_leaf ? value_bytes_ : kChildBytes)};
}

// The caller has the one reference to the block that it replaces.
Result<BTree::Shadow> BTree::shadow(uint64_t number) {
  const auto old = open(number);
  if (!old) return std::unexpected(old.error());
  const auto count = space_.count(number);
  if (!count) return std::unexpected(count.error());
  if (*count == 1 && blocks_.is_new(number)) return Shadow{number, Node(blocks_.change(number))};
  const auto copy = space_.allocate();
  if (!copy) return std::unexpected(copy.error());
  const Block block = blocks_.make(*copy, BlockKind::node);
  std::ranges::copy(old->block(), block.begin());
  if (auto released = space_.decrease(number); !released) {
    return std::unexpected(released.error());
  }
  if (*count > 1) {
    if (auto referred = refer_to_entries(*old); !referred) {
      return std::unexpected(referred.error());
    }
  }
  return Shadow{*copy, Node(block)};
}

Result<BTree::Shadow> BTree::shadow_child(Node& parent, uint32_t index) {
  auto child = shadow(parent.value64(index));
  if (child) parent.set_child(index, child->number);
  return child;
}

Result<void> BTree::refer_to_entries(const NodeView& node) {
  if (node.is_leaf() && references_ == nullptr) return {};
  for (uint32_t i = 0; i < node.entries(); ++i) {
    auto referred =
        node.is_leaf() ? references_->increase(node.value(i)) : space_.increase(node.value64(i));
    if (!referred) return referred;
  }
  return {};
}

// A value of a full leaf can be replaced.
Result<bool> BTree::must_split(const NodeView& node, uint64_t key) {
  return node.is_full() && !(node.is_leaf() && node.find(key));
}

// The root stays where it is, with two new children.
Result<void> BTree::split_root(Node& root, uint64_t key) {
  auto left = make(root.is_leaf());
  if (!left) return std::unexpected(left.error());
  auto right = make(root.is_leaf());
  if (!right) return std::unexpected(right.error());
  root.move_to(right->node, moved_entries(root, key));
  root.move_to(left->node, root.entries());
  root = Node::format(root.writable(), false, kChildBytes);
  root.insert(0, left->node.key(0), child_value(left->number));
  root.insert(1, right->node.key(0), child_value(right->number));
  return {};
}

Result<void> BTree::split_child(Node& parent, uint32_t index, Node& child, uint64_t key) {
  auto right = make(child.is_leaf());
  if (!right) return std::unexpected(right.error());
  child.move_to(right->node, moved_entries(child, key));
  parent.insert(index + 1, right->node.key(0), child_value(right->number));
  return {};
}

Result<bool> BTree::put(Node& leaf, uint64_t key, Value value) {
  const auto before = leaf.at_most(key);
  if (!before || leaf.key(*before) != key) {
    leaf.insert(before ? *before + 1 : 0, key, value);
    return true;
  }
  if (references_ != nullptr) {
    if (auto released = references_->decrease(leaf.value(*before)); !released) {
      return std::unexpected(released.error());
    }
  }
  leaf.set_value(*before, value);
  return false;
}

Result<void> BTree::remove_below(Node& node, uint64_t key, uint32_t depth) {
  if (depth == kTreeLevelsMost) return too_deep(key);
  const auto index = node.at_most(key);
  if (!index) return fail(EILSEQ, fmt::format("key {} is not where it was", key));
  if (node.is_leaf()) {
    if (references_ != nullptr) {
      if (auto released = references_->decrease(node.value(*index)); !released) return released;
    }
    node.erase(*index);
    return {};
  }
  auto child = shadow_child(node, *index);
  if (!child) return std::unexpected(child.error());
  if (auto removed = remove_below(child->node, key, depth + 1); !removed) return removed;
  if (child->node.entries() >= child->node.fewest() || node.entries() == 1) return {};
  return fill_child(node, *index);
}

// A child has one entry too few: it gets some of a neighbour, or all.
Result<void> BTree::fill_child(Node& parent, uint32_t index) {
  const uint32_t first = index + 1 < parent.entries() ? index : index - 1;
  auto left = shadow_child(parent, first);
  if (!left) return std::unexpected(left.error());
  auto right = shadow_child(parent, first + 1);
  if (!right) return std::unexpected(right.error());
  if (left->node.is_leaf() != right->node.is_leaf()) {
    return fail(EILSEQ, fmt::format("blocks {} and {} are children of one node, and only one is a "
                                    "leaf",
                                    left->number, right->number));
  }
  const uint32_t entries = left->node.entries() + right->node.entries();
  if (entries <= 2 * left->node.fewest()) {
    left->node.move_from(right->node, right->node.entries());
    parent.erase(first + 1);
    return space_.decrease(right->number);
  }
  const uint32_t half = entries / 2;
  if (left->node.entries() < half) {
    left->node.move_from(right->node, half - left->node.entries());
  } else {
    left->node.move_to(right->node, left->node.entries() - half);
  }
  parent.set_key(first + 1, right->node.key(0));
  return {};
}

// A root with one child takes its place.
Result<void> BTree::shrink_root(Node& root) {
  while (!root.is_leaf() && root.entries() == 1) {
    const auto child = shadow_child(root, 0);
    if (!child) return std::unexpected(child.error());
    std::ranges::copy(child->node.block(), root.writable().begin());
    if (auto released = space_.decrease(child->number); !released) return released;
  }
  return {};
}

Result<void> BTree::release_node(uint64_t number, std::vector<uint64_t>& left,
                                 std::vector<uint64_t>* values) {
  const auto count = space_.count(number);
  if (!count) return std::unexpected(count.error());
  if (*count != 1) return space_.decrease(number);
  const auto node = open(number);
  if (!node) return std::unexpected(node.error());
  std::vector<uint64_t> children;
  std::vector<uint64_t> left_values;
  for (uint32_t i = 0; i < node->entries(); ++i) {
    if (!node->is_leaf()) {
      children.push_back(node->value64(i));
    } else if (values != nullptr) {
      left_values.push_back(node->value64(i));
    } else if (references_ != nullptr) {
      if (auto released = references_->decrease(node->value(i)); !released) return released;
    }
  }
  if (auto released = space_.decrease(number); !released) return released;
  left.insert(left.end(), children.begin(), children.end());
  if (values != nullptr) values->insert(values->end(), left_values.begin(), left_values.end());
  return {};
}

Result<void> BTree::release_below(uint64_t number, uint32_t depth) {
  if (depth == kTreeLevelsMost) return too_deep(number);
  const auto count = space_.count(number);
  if (!count) return std::unexpected(count.error());
  if (*count == 1) {
    const auto node = open(number);
    if (!node) return std::unexpected(node.error());
    for (uint32_t i = 0; i < node->entries(); ++i) {
      if (node->is_leaf() && references_ == nullptr) break;
      auto released = node->is_leaf() ? references_->decrease(node->value(i))
                                      : release_below(node->value64(i), depth + 1);
      if (!released) return released;
    }
    // A whole device may be released in one operation.
    if (node->is_leaf()) blocks_.forget(number);
  }
  return space_.decrease(number);
}

}  // namespace sluice::persistent
