#include "persistent/node.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>

#include "persistent/superblock.hpp"
#include "unit/persistent/golden.hpp"

namespace sluice::persistent::test {
namespace {

struct NodeBytes {
  alignas(8) std::array<std::byte, kBlockBytes> bytes{};
  Block block() { return bytes; }
};

std::array<std::byte, 8> value_of(uint64_t number) {
  std::array<std::byte, 8> value;
  store_little_endian(value, 0, number);
  return value;
}

int error_of(Block block) {
  seal(BlockKind::node, 5, block);
  const auto node = open_node(block, 5, 8);
  return node ? 0 : node.error().error;
}

TEST(ThinNode, HasTheCapacityOfTheKernels) {
  EXPECT_EQ(node_capacity(4), 336);
  EXPECT_EQ(node_capacity(8), 252);
  EXPECT_EQ(node_capacity(16), 168);
  EXPECT_EQ(node_capacity(24), 126);
}

TEST(ThinNode, OfAnotherProgramIsRead) {
  const std::vector<std::byte> image = golden("two_devices.txt", 32);
  const auto devices = open_node(block_of(image, 6), 6, DeviceDetails::kBytes);
  ASSERT_TRUE(devices) << devices.error().text;
  ASSERT_EQ(devices->entries(), 2);
  EXPECT_TRUE(devices->is_leaf());
  EXPECT_EQ(devices->key(1), 5);
  EXPECT_EQ(
      load_device_details(devices->value(1)),
      (DeviceDetails{
          .mapped_blocks = 4, .transaction_id = 2, .creation_time = 1, .snapshotted_time = 1}));
  EXPECT_FALSE(open_node(block_of(image, 6), 6, 8)) << "values of another size";
  EXPECT_FALSE(open_node(block_of(image, 7), 6, 8)) << "of another block";
  EXPECT_FALSE(open_node(block_of(image, 1), 1, 8)) << "another kind of block";
}

TEST(ThinNode, InsertsErasesAndFinds) {
  NodeBytes bytes;
  Node node = Node::format(bytes.block(), true, 8);
  std::map<uint64_t, uint64_t> expected;
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t key = random() % 400;
    const auto below = node.at_most(key);
    const auto found = node.find(key);
    ASSERT_EQ(found.has_value(), expected.contains(key));
    if (found && random() % 2 == 0) {
      node.erase(*found);
      expected.erase(key);
    } else if (found) {
      node.set_value(*found, value_of(expected[key] = random()));
    } else if (!node.is_full()) {
      node.insert(below ? *below + 1 : 0, key, value_of(expected[key] = random()));
    }
    ASSERT_EQ(node.entries(), expected.size());
  }
  uint32_t index = 0;
  for (const auto& [key, value] : expected) {
    EXPECT_EQ(node.key(index), key);
    EXPECT_EQ(node.value64(index++), value);
  }
  EXPECT_EQ(error_of(bytes.block()), 0);
}

TEST(ThinNode, MovesEntriesToANeighbour) {
  NodeBytes left_bytes;
  NodeBytes right_bytes;
  Node left = Node::format(left_bytes.block(), true, 8);
  Node right = Node::format(right_bytes.block(), true, 8);
  for (uint64_t i = 0; i < 252; ++i) left.insert(static_cast<uint32_t>(i), i, value_of(i * 3));
  left.move_to(right, 100);
  left.move_to(right, 50);
  left.move_from(right, 20);
  ASSERT_EQ(left.entries(), 122);
  ASSERT_EQ(right.entries(), 130);
  for (uint32_t i = 0; i < 252; ++i) {
    const Node& node = i < 122 ? left : right;
    const uint32_t index = i < 122 ? i : i - 122;
    EXPECT_EQ(node.key(index), i);
    EXPECT_EQ(node.value64(index), i * 3);
  }
  left.move_from(right, 130);
  EXPECT_EQ(left.entries(), 252);
  EXPECT_EQ(right.entries(), 0);
}

TEST(ThinNode, WhatIsNoNodeIsRefused) {
  const auto broken = [](size_t place, uint32_t number) {
    NodeBytes bytes;
    Node node = Node::format(bytes.block(), true, 8);
    node.insert(0, 3, value_of(1));
    node.insert(1, 4, value_of(1));
    store_little_endian(bytes.block(), place, number);
    return error_of(bytes.block());
  };
  EXPECT_EQ(broken(4, 2), 0);
  EXPECT_EQ(broken(4, 0), EILSEQ) << "no flags";
  EXPECT_EQ(broken(4, 3), EILSEQ) << "leaf and internal";
  EXPECT_EQ(broken(16, 253), EILSEQ) << "too many entries";
  EXPECT_EQ(broken(16, UINT32_MAX), EILSEQ);
  EXPECT_EQ(broken(20, 255), EILSEQ) << "the capacity";
  EXPECT_EQ(broken(20, 0), EILSEQ);
  EXPECT_EQ(broken(24, 0), EILSEQ) << "the size of values";
  EXPECT_EQ(broken(24, UINT32_MAX), EILSEQ);
  EXPECT_EQ(broken(32, 4), EILSEQ) << "equal keys";
  EXPECT_EQ(broken(32, 5), EILSEQ) << "descending keys";
}

TEST(ThinNode, AnInternalNodeHasChildren) {
  NodeBytes bytes;
  Node node = Node::format(bytes.block(), false, kChildBytes);
  EXPECT_EQ(error_of(bytes.block()), EILSEQ) << "empty";
  node.insert(0, 0, value_of(0));
  node.set_child(0, 77);
  EXPECT_EQ(node.value64(0), 77);
  seal(BlockKind::node, 5, bytes.block());
  EXPECT_TRUE(open_node(bytes.block(), 5, DeviceDetails::kBytes)) << "in a tree with other values";
}

}  // namespace
}  // namespace sluice::persistent::test
