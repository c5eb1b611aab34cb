// MappedRuns: the mappings of one device, run by run: for a reader of two devices at once.
//
// The runs are those of for_each_run(). Whatever the blocks contain, it ends: keys ascend. Blocks;
// keeps one block for each level of the tree.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "persistent/devices.hpp"
#include "persistent/node.hpp"

namespace sluice::persistent {

class MappedRuns {
 public:
  // The reader outlives it. `root`: of the mappings of a device.
  MappedRuns(BlockReader& reader, uint64_t root) : reader_(reader), root_(root) {}

  // Nothing: that was the last one. EILSEQ: damaged; or the reader's error. Then no call follows.
  Result<std::optional<MappedRun>> next();

 private:
  struct Level {
    alignas(8) std::array<std::byte, kBlockBytes> bytes;
    uint32_t index = 0;  // the entry that comes next
    NodeView node() const { return NodeView(bytes); }
  };

  Result<bool> find_leaf();
  Result<void> descend(uint64_t number);

  BlockReader& reader_;
  const uint64_t root_;
  bool began_ = false;
  std::vector<std::unique_ptr<Level>> levels_;  // from the root to a leaf
  std::optional<uint64_t> last_key_;
};

}  // namespace sluice::persistent
