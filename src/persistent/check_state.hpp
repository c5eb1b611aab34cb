// What the parts of check() share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>

#include "persistent/check.hpp"
#include "persistent/reference_counts.hpp"
#include "persistent/tree_walk.hpp"

namespace sluice::persistent {

// What a metadata block is used for: one thing only, however often it is referenced.
enum class BlockUse : uint8_t {
  device_roots,  // nodes of the mapping tree, upper level
  mappings,      // and of its lower level
  devices,
  data_index,
  reference_counts,
  bitmap,
  metadata_index,
  superblock,
};

class CheckState {
 public:
  CheckState(BlockReader& blocks, const Superblock& root, const CheckProgress& progress)
      : reader(blocks), superblock(root), progress_(progress) {}

  BlockReader& reader;
  const Superblock superblock;
  CheckResult result = {};
  ReferenceCounts metadata = {};
  ReferenceCounts data = {};
  bool complete = true;  // everything was found and read: there are no other references

  // A metadata block that is referenced.
  struct Known {
    BlockUse use{};
    Subtree below = {};  // of a node, once it was walked through
  };
  std::unordered_map<uint64_t, Known> known = {};

  void corrupt(std::string sentence);
  void leak(uint64_t blocks, std::string sentence);
  // By the Error: what is damaged, or cannot be read. There may be references that are not known.
  void lose(const Error& error);

  // Counts a reference to a metadata block. True: it is the first one, and the block can be read.
  bool refer(uint64_t number, BlockUse use);
  // The same, and the block is read.
  bool load(uint64_t number, BlockUse use, Block block);
  // Walks through a tree; nodes that were walked through before are only counted. What is below
  // its root. `take`: each leaf.
  Subtree walk(uint64_t root, BlockUse use, uint32_t value_bytes,
               const std::function<void(const NodeView&)>& take);

 private:
  void say(std::string sentence);

  const CheckProgress& progress_;
  uint64_t done_ = 0;
};

// The trees of devices and mappings, for the superblock or for a metadata snapshot.
void check_devices(CheckState& state, const Superblock& superblock);
// Walks through the space maps, which count themselves; then all references are known, and are
// compared with the counts.
void check_space_maps(CheckState& state);

}  // namespace sluice::persistent
