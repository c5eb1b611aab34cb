#include "persistent/node.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sluice::persistent {
namespace {

constexpr uint32_t kInternal = 1;
constexpr uint32_t kLeaf = 2;

}  // namespace

std::optional<uint32_t> NodeView::at_most(uint64_t wanted) const {
  uint32_t first = 0;
  uint32_t end = entries();  // the keys from here on are larger
  while (first != end) {
    const uint32_t middle = first + (end - first) / 2;
    if (key(middle) <= wanted) {
      first = middle + 1;
    } else {
      end = middle;
    }
  }
  if (end == 0) return std::nullopt;
  return end - 1;
}

std::optional<uint32_t> NodeView::find(uint64_t wanted) const {
  const auto index = at_most(wanted);
  if (index && key(*index) == wanted) return index;
  return std::nullopt;
}

Node Node::format(Block block, bool is_leaf, uint32_t value_bytes) {
  std::ranges::fill(block, std::byte{});
  store_little_endian(block, 4, is_leaf ? kLeaf : kInternal);
  store_little_endian(block, 20, node_capacity(value_bytes));
  store_little_endian(block, 24, value_bytes);
  return Node(block);
}

void Node::insert(uint32_t index, uint64_t key, std::span<const std::byte> value) {
  assert(!is_full() && index <= entries());
  const uint32_t behind = entries() - index;
  set_entries(entries() + 1);
  shift(index, index + 1, behind);
  set_key(index, key);
  set_value(index, value);
}

void Node::erase(uint32_t index) {
  assert(index < entries());
  shift(index + 1, index, entries() - index - 1);
  set_entries(entries() - 1);
}

void Node::set_key(uint32_t index, uint64_t key) {
  assert(index < entries());
  store_little_endian(bytes_, key_place(index), key);
}

void Node::set_value(uint32_t index, std::span<const std::byte> value) {
  assert(index < entries() && value.size() == value_bytes());
  std::ranges::copy(value, bytes_.subspan(value_place(index)).begin());
}

void Node::set_child(uint32_t index, uint64_t block) {
  std::array<std::byte, kChildBytes> value;
  store_little_endian(value, 0, block);
  set_value(index, value);
}

void Node::move_to(Node& right, uint32_t count) {
  assert(count <= entries() && right.entries() + count <= right.capacity());
  const uint32_t before = right.entries();
  right.shift(0, count, before);
  right.copy(0, *this, entries() - count, count);
  right.set_entries(before + count);
  set_entries(entries() - count);
}

void Node::move_from(Node& right, uint32_t count) {
  assert(count <= right.entries() && entries() + count <= capacity());
  copy(entries(), right, 0, count);
  right.shift(count, 0, right.entries() - count);
  right.set_entries(right.entries() - count);
  set_entries(entries() + count);
}

void Node::shift(uint32_t from, uint32_t to, uint32_t count) {
  std::byte* const bytes = bytes_.data();
  std::memmove(bytes + key_place(to), bytes + key_place(from), size_t{count} * 8);
  std::memmove(bytes + value_place(to), bytes + value_place(from), size_t{count} * value_bytes());
}

void Node::copy(uint32_t to, const NodeView& source, uint32_t from, uint32_t count) {
  if (count == 0) return;
  const std::byte* const keys = source.block().data() + kNodeHeaderBytes + size_t{from} * 8;
  std::memcpy(bytes_.data() + key_place(to), keys, size_t{count} * 8);
  std::memcpy(bytes_.data() + value_place(to), source.value(from).data(),
              size_t{count} * value_bytes());
}

Result<NodeView> open_node(ConstBlock block, uint64_t number, uint32_t value_bytes) {
  if (auto verified = verify(BlockKind::node, number, block); !verified) {
    return std::unexpected(verified.error());
  }
  return check_node(block, number, value_bytes);
}

Result<NodeView> check_node(ConstBlock block, uint64_t number, uint32_t value_bytes) {
  const auto refuse = [&](const std::string& why) {
    return fail(EILSEQ, fmt::format("block {} is not a node of this tree: {}", number, why));
  };
  const auto flags = load_little_endian<uint32_t>(block, 4);
  if (flags != kInternal && flags != kLeaf) return refuse(fmt::format("its flags are {}", flags));
  const NodeView node(block);
  const uint32_t wanted = node.is_leaf() ? value_bytes : kChildBytes;
  if (node.value_bytes() != wanted) {
    return refuse(fmt::format("its values have {} bytes, not {}", node.value_bytes(), wanted));
  }
  // A smaller capacity would be read correctly, but nobody writes it, and other programs refuse
  // those that are no multiple of 3.
  if (node.capacity() != node_capacity(wanted)) {
    return refuse(
        fmt::format("it has room for {} entries, not {}", node.capacity(), node_capacity(wanted)));
  }
  if (node.entries() > node.capacity()) {
    return refuse(fmt::format("it has {} entries of at most {}", node.entries(), node.capacity()));
  }
  if (node.entries() == 0 && !node.is_leaf()) return refuse("it is internal and empty");
  for (uint32_t i = 1; i < node.entries(); ++i) {
    if (node.key(i - 1) < node.key(i)) continue;
    return refuse(
        fmt::format("key {} is followed by {} at entry {}", node.key(i - 1), node.key(i), i));
  }
  return node;
}

}  // namespace sluice::persistent
