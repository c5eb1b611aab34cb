// Walks through a whole B-tree in the order of its keys, whatever its blocks contain.
//
// Every node is verified, and the keys below each node must lie between its own key and the next
// one. A walk ends, also where nodes refer to each other in a circle, and never visits a node with
// entries twice.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "persistent/block_reader.hpp"
#include "persistent/node.hpp"

namespace sluice::persistent {

// More levels than a tree of 2^64 keys can have if its nodes are filled as they must be.
inline constexpr uint32_t kTreeLevelsMost = 14;

// What a node and all below it have, as far as it is known.
struct Subtree {
  std::optional<uint32_t> levels = std::nullopt;  // below the node; 0: it is a leaf
  uint64_t entries = 0;                           // of its leaves
  uint64_t first_key = 0;                         // with entries
  uint64_t last_key = 0;
};

class TreeVisitor {
 public:
  virtual ~TreeVisitor() = default;

  // Before a node is read. If the walk need not go there: what it would find.
  virtual std::optional<Subtree> enter(uint64_t number);
  // False ends the walk.
  virtual bool leaf(const NodeView& node) = 0;
  // After a node that was entered, with all below it.
  virtual void leave(uint64_t number, const Subtree& found);
  // A node, or its place in the tree, is at fault; what is below it is left out. False ends the
  // walk.
  virtual bool fault(Error error) = 0;
};

// `value_bytes`: of the leaves. False: the visitor has ended the walk.
bool walk_tree(BlockReader& reader, uint64_t root, uint32_t value_bytes, TreeVisitor& visitor);

// All leaves of a tree without faults. Ends with the first error, of the tree or of `take`.
Result<void> for_each_leaf(BlockReader& reader, uint64_t root, uint32_t value_bytes,
                           const std::function<Result<void>(const NodeView&)>& take);

}  // namespace sluice::persistent
