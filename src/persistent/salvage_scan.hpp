// Trees of a pool that are found without its superblock, by reading all blocks.
//
// Old ones are among them: a commit leaves the nodes that it replaces, until they are reused.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "persistent/check.hpp"
#include "persistent/devices.hpp"
#include "persistent/tree_walk.hpp"

namespace sluice::persistent {

// What may be a mapping tree's upper level, as far as it can be read.
struct FoundRoots {
  std::map<uint64_t, uint64_t> roots = {};  // by device
  bool is_whole = true;
};
FoundRoots find_roots(BlockReader& reader, uint64_t root);

// What may be a device tree, likewise.
struct FoundDetails {
  std::map<uint64_t, DeviceDetails> details = {};
  bool is_whole = true;
};
FoundDetails find_details(BlockReader& reader, uint64_t root);

// What a tree of mappings has; nodes that several trees share are read once.
class MappingSurvey {
 public:
  struct Found {
    uint64_t entries = 0;
    uint32_t newest = 0;  // the time
    bool is_whole = true;
  };

  explicit MappingSurvey(BlockReader& reader) : reader_(reader) {}
  Found look(uint64_t root);

 private:
  struct Known {
    Subtree below = {};
    Found found = {};
  };
  class Visitor;

  BlockReader& reader_;
  std::unordered_map<uint64_t, Known> known_;
};

// The blocks of nodes that may be a root.
struct NodeScan {
  std::vector<uint64_t> device_roots = {};        // of the mapping tree's upper level
  std::vector<uint64_t> devices = {};             // of the device tree
  std::optional<Superblock> copy = std::nullopt;  // a superblock in another place
};
NodeScan scan_nodes(BlockReader& reader, const CheckProgress& progress);

}  // namespace sluice::persistent
