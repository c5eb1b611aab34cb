#include "persistent/exclusive.hpp"

#include "persistent/reference_counts.hpp"
#include "persistent/tree_walk.hpp"

namespace sluice::persistent {
namespace {

struct SharedCounts {
  ReferenceCounts nodes = {};
  ReferenceCounts data = {};  // a leaf that several trees share counts once
};

class EndsWithFault : public TreeVisitor {
 public:
  bool fault(Error error) override {
    result = std::unexpected(std::move(error));
    return false;
  }

  Result<void> result = {};
};

// Counts what refers to each node and data block, and goes into each node once.
class SharingCounter final : public EndsWithFault {
 public:
  explicit SharingCounter(SharedCounts& counts) : counts_(counts) {}

  std::optional<Subtree> enter(uint64_t number) override {
    if (counts_.nodes.add(number) == 0) return std::nullopt;
    return Subtree{};
  }
  bool leaf(const NodeView& node) override {
    for (uint32_t i = 0; i < node.entries(); ++i) {
      counts_.data.add(Mapping::from(node.value64(i)).data_block);
    }
    return true;
  }

 private:
  SharedCounts& counts_;
};

// A node with several parents belongs to other devices too, with all below it.
class ExclusiveCounter final : public EndsWithFault {
 public:
  explicit ExclusiveCounter(const SharedCounts& counts) : counts_(counts) {}

  std::optional<Subtree> enter(uint64_t number) override {
    if (counts_.nodes.get(number).references == 1) return std::nullopt;
    return Subtree{};
  }
  bool leaf(const NodeView& node) override {
    for (uint32_t i = 0; i < node.entries(); ++i) {
      const uint64_t block = Mapping::from(node.value64(i)).data_block;
      if (counts_.data.get(block).references == 1) ++exclusive;
    }
    return true;
  }

  uint64_t exclusive = 0;

 private:
  const SharedCounts& counts_;
};

}  // namespace

Result<std::vector<uint64_t>> count_exclusive(BlockReader& reader,
                                              std::span<const ThinDevice> devices) {
  SharedCounts counts;
  SharingCounter sharing(counts);
  for (const ThinDevice& device : devices) {
    if (walk_tree(reader, device.root, Mapping::kBytes, sharing)) continue;
    return std::unexpected(sharing.result.error());
  }
  std::vector<uint64_t> found;
  for (const ThinDevice& device : devices) {
    ExclusiveCounter counter(counts);
    if (!walk_tree(reader, device.root, Mapping::kBytes, counter)) {
      return std::unexpected(counter.result.error());
    }
    found.push_back(counter.exclusive);
  }
  return found;
}

}  // namespace sluice::persistent
