// ReferenceCounts: how often each block of a device is referenced, as found by a walk.
//
// Takes memory for the blocks that are referenced, in groups of neighbours, and none for others.
// Used by one thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

namespace sluice::persistent {

class ReferenceCounts {
 public:
  static constexpr uint64_t kGroup = 64;

  struct Count {
    uint32_t references : 31 = 0;  // at most kMost
    uint32_t in_tree : 1 = 0;      // the tree of reference counts has it
  };
  static constexpr uint32_t kMost = (uint32_t{1} << 31) - 1;
  using Group = std::array<Count, kGroup>;

  // The references before.
  uint32_t add(uint64_t block) {
    Count& count = at(block);
    const uint32_t before = count.references;
    if (before < kMost) count.references = before + 1;
    return before;
  }
  void note_in_tree(uint64_t block) { at(block).in_tree = 1; }
  Count get(uint64_t block) const {
    const Group* const group = find(block);
    return group == nullptr ? Count{} : (*group)[block % kGroup];
  }
  // The blocks from block / kGroup * kGroup on; null: none of them is referenced.
  const Group* find(uint64_t block) const {
    const auto found = groups_.find(block / kGroup);
    return found == groups_.end() ? nullptr : found->second.get();
  }

 private:
  Count& at(uint64_t block) {
    if (last_ == nullptr || last_number_ != block / kGroup) {
      auto& group = groups_[block / kGroup];
      if (group == nullptr) group = std::make_unique<Group>();
      last_ = group.get();
      last_number_ = block / kGroup;
    }
    return (*last_)[block % kGroup];
  }

  std::unordered_map<uint64_t, std::unique_ptr<Group>> groups_;
  Group* last_ = nullptr;  // the group that was used last
  uint64_t last_number_ = 0;
};

}  // namespace sluice::persistent
