// NodeView, Node: a node of a B-tree, in the bytes of its block.
//
// The layout is docs/formats/thin.md. A view of a block that open_node() has accepted never reads
// outside the block; indices are the caller's duty, and are asserted. No state, no I/O.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>

#include "core/little_endian.hpp"
#include "persistent/block.hpp"

namespace sluice::persistent {

inline constexpr uint32_t kNodeHeaderBytes = 32;
inline constexpr uint32_t kChildBytes = 8;  // the size of a value in an internal node

// How many entries a node holds.
constexpr uint32_t node_capacity(uint32_t value_bytes) {
  const uint32_t fit = (kBlockBytes - kNodeHeaderBytes) / (8 + value_bytes);
  return fit / 3 * 3;
}

class NodeView {
 public:
  // `block`: of a node that open_node() has accepted, or Node::format() has made.
  explicit NodeView(ConstBlock block) : bytes_(block) {}

  bool is_leaf() const { return (number<uint32_t>(4) & 2) != 0; }
  uint32_t entries() const { return number<uint32_t>(16); }
  uint32_t capacity() const { return number<uint32_t>(20); }
  uint32_t value_bytes() const { return number<uint32_t>(24); }
  // All nodes but a root have at least so many entries.
  uint32_t fewest() const { return capacity() / 3; }
  bool is_full() const { return entries() == capacity(); }

  uint64_t key(uint32_t index) const {
    assert(index < entries());
    return number<uint64_t>(key_place(index));
  }
  ConstBlock block() const { return bytes_; }
  std::span<const std::byte> value(uint32_t index) const {
    assert(index < entries());
    return bytes_.subspan(value_place(index), value_bytes());
  }
  // The value as a number of 8 bytes.
  uint64_t value64(uint32_t index) const { return load_little_endian<uint64_t>(value(index), 0); }

  // The last entry whose key is at most `key`.
  std::optional<uint32_t> at_most(uint64_t key) const;
  // The entry with this key.
  std::optional<uint32_t> find(uint64_t key) const;

 protected:
  size_t key_place(uint32_t index) const { return kNodeHeaderBytes + size_t{index} * 8; }
  size_t value_place(uint32_t index) const {
    return kNodeHeaderBytes + size_t{capacity()} * 8 + size_t{index} * value_bytes();
  }

 private:
  template <typename Number>
  Number number(size_t place) const {
    return load_little_endian<Number>(bytes_, place);
  }

  ConstBlock bytes_;
};

// One that may be changed.
class Node final : public NodeView {
 public:
  explicit Node(Block block) : NodeView(block), bytes_(block) {}
  // Makes an empty node of the block.
  static Node format(Block block, bool is_leaf, uint32_t value_bytes);
  Block writable() const { return bytes_; }

  // Before the entry at `index`; the node is not full.
  void insert(uint32_t index, uint64_t key, std::span<const std::byte> value);
  void erase(uint32_t index);
  void set_key(uint32_t index, uint64_t key);
  void set_value(uint32_t index, std::span<const std::byte> value);
  void set_child(uint32_t index, uint64_t block);

  // Moves the last `count` entries to the beginning of `right`, or its first ones here, behind the
  // last. There is room.
  void move_to(Node& right, uint32_t count);
  void move_from(Node& right, uint32_t count);

 private:
  void set_entries(uint32_t entries) { store_little_endian(bytes_, 16, entries); }
  void shift(uint32_t from, uint32_t to, uint32_t count);
  void copy(uint32_t to, const NodeView& source, uint32_t from, uint32_t count);

  Block bytes_;
};

// The node in a block that was read. `value_bytes`: of the tree's leaves; an internal node has
// others. EILSEQ: damaged, or not a node of such a tree.
Result<NodeView> open_node(ConstBlock block, uint64_t number, uint32_t value_bytes);

// The same without the checksum.
Result<NodeView> check_node(ConstBlock block, uint64_t number, uint32_t value_bytes);

}  // namespace sluice::persistent
