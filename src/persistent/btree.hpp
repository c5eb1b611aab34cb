// BTree: looks up, inserts and removes in B-trees by shadowing: no node of the last committed
// transaction is ever changed, and nodes that several trees share are copied first.
//
// Describes a kind of tree; the roots are the caller's, and change with the trees. Part of an
// operation (TransactionBlocks): after an error the operation must be undone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "persistent/node.hpp"
#include "persistent/transaction_blocks.hpp"

namespace sluice::persistent {

// The reference counts of metadata blocks.
class BlockSpace {
 public:
  virtual ~BlockSpace() = default;

  // A block that is free in this transaction and in the last one, with a count of 1. ENOSPC.
  virtual Result<uint64_t> allocate() = 0;
  virtual Result<uint64_t> count(uint64_t block) = 0;
  virtual Result<void> increase(uint64_t block) = 0;
  virtual Result<void> decrease(uint64_t block) = 0;
};

// What the values of a tree refer to. A value is counted once for each leaf that has it.
class ValueReferences {
 public:
  virtual ~ValueReferences() = default;

  virtual Result<void> increase(std::span<const std::byte> value) = 0;
  virtual Result<void> decrease(std::span<const std::byte> value) = 0;
};

class BTree {
 public:
  using Value = std::span<const std::byte>;

  // All outlive it. `references`: null if the values refer to nothing.
  BTree(TransactionBlocks& blocks, BlockSpace& space, uint32_t value_bytes,
        ValueReferences* references = nullptr)
      : blocks_(blocks), space_(space), value_bytes_(value_bytes), references_(references) {}

  // The root of a new, empty tree.
  Result<uint64_t> create();
  // Nothing: there is no such key. The value is valid until the operation changes something.
  Result<std::optional<Value>> find(uint64_t root, uint64_t key);
  // Calls `take` for each key from `begin` to before `end`, in order, until it returns false, which
  // is then what is returned.
  using Take = std::function<bool(uint64_t key, Value value)>;
  Result<bool> visit(uint64_t root, uint64_t begin, uint64_t end, const Take& take);
  // The reference that the value is becomes the tree's; what it replaces is released. True: the key
  // is new.
  Result<bool> insert(uint64_t& root, uint64_t key, Value value);
  // False: there is no such key.
  Result<bool> remove(uint64_t& root, uint64_t key);
  // Gives up one reference to a root, and with the last one all that the tree has.
  Result<void> release(uint64_t root);
  // The same for one node alone: `left` gets its children if they have to be released as well, and
  // `values`, unless it is null, those of a leaf, as numbers, instead of their being released.
  Result<void> release_node(uint64_t number, std::vector<uint64_t>& left,
                            std::vector<uint64_t>* values = nullptr);

 private:
  struct Shadow {
    uint64_t number;
    Node node;
  };

  Result<NodeView> open(uint64_t number);
  Result<bool> visit_below(uint64_t number, uint64_t begin, uint64_t end, const Take& take,
                           uint32_t depth);
  Result<Shadow> make(bool is_leaf);
  Result<Shadow> shadow(uint64_t number);
  Result<Shadow> shadow_child(Node& parent, uint32_t index);
  Result<void> refer_to_entries(const NodeView& node);
  Result<bool> must_split(const NodeView& node, uint64_t key);
  Result<void> split_root(Node& root, uint64_t key);
  Result<void> split_child(Node& parent, uint32_t index, Node& child, uint64_t key);
  Result<bool> put(Node& leaf, uint64_t key, Value value);
  Result<void> remove_below(Node& node, uint64_t key, uint32_t depth);
  Result<void> fill_child(Node& parent, uint32_t index);
  Result<void> shrink_root(Node& root);
  Result<void> release_below(uint64_t number, uint32_t depth);

  TransactionBlocks& blocks_;
  BlockSpace& space_;
  const uint32_t value_bytes_;
  ValueReferences* const references_;
};

}  // namespace sluice::persistent
