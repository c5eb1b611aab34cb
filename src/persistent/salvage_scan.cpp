#include "persistent/salvage_scan.hpp"

#include <algorithm>
#include <array>
#include <functional>

#include "persistent/node.hpp"

namespace sluice::persistent {
namespace {

// Takes all leaves that can be read.
class ReadableLeaves final : public TreeVisitor {
 public:
  explicit ReadableLeaves(const std::function<void(const NodeView&)>& take) : take_(take) {}

  bool leaf(const NodeView& node) override {
    take_(node);
    return true;
  }
  bool fault(Error) override {
    is_whole = false;
    return true;
  }

  bool is_whole = true;

 private:
  const std::function<void(const NodeView&)>& take_;
};

bool walk_readable(BlockReader& reader, uint64_t root, uint32_t value_bytes,
                   const std::function<void(const NodeView&)>& take) {
  ReadableLeaves leaves(take);
  walk_tree(reader, root, value_bytes, leaves);
  return leaves.is_whole;
}

enum class TreeKind : uint8_t { none, device_roots, devices, mappings };

// The kinds of all nodes, by their leaves.
class NodeKinds {
 public:
  explicit NodeKinds(BlockReader& reader)
      : reader_(reader), kinds_(std::min(reader.blocks(), kMetadataBlocksMost), TreeKind::none) {}

  uint64_t size() const { return kinds_.size(); }
  TreeKind of(uint64_t number) const {
    return number < kinds_.size() ? kinds_[number] : TreeKind::none;
  }

  // A leaf has its kind, an internal node gets it once all leaves are known.
  void add(uint64_t number, const NodeView& node) {
    if (!node.is_leaf()) {
      internal_.push_back(number);
    } else if (node.value_bytes() == DeviceDetails::kBytes) {
      kinds_[number] = TreeKind::devices;
    } else {
      kinds_[number] = leaf_kind(node);
    }
  }

  // Upwards, a level at a time.
  void add_parents() {
    for (uint32_t level = 0; level < kTreeLevelsMost && !internal_.empty(); ++level) {
      std::erase_if(internal_, [&](uint64_t number) {
        kinds_[number] = kind_of_children(number);
        return kinds_[number] != TreeKind::none;
      });
    }
  }

 private:
  // A mapping's value is a block number only if it is of data block 0.
  TreeKind leaf_kind(const NodeView& node) const {
    uint32_t numbers = 0;
    for (uint32_t i = 0; i < node.entries(); ++i) {
      const bool is_number = node.value64(i) < kinds_.size() && node.key(i) <= kDeviceIdMost;
      numbers += is_number ? 1 : 0;
    }
    return node.entries() != 0 && 2 * numbers > node.entries() ? TreeKind::device_roots
                                                               : TreeKind::mappings;
  }

  TreeKind kind_of_children(uint64_t number) const {
    alignas(8) std::array<std::byte, kBlockBytes> bytes;
    if (!reader_.read(number, bytes)) return TreeKind::none;
    const auto node = open_node(bytes, number, kChildBytes);
    if (!node || node->is_leaf()) return TreeKind::none;
    for (uint32_t i = 0; i < node->entries(); ++i) {
      if (const TreeKind kind = of(node->value64(i)); kind != TreeKind::none) return kind;
    }
    return TreeKind::none;
  }

  BlockReader& reader_;
  std::vector<TreeKind> kinds_;
  std::vector<uint64_t> internal_;  // whose kind is not known
};

}  // namespace

FoundRoots find_roots(BlockReader& reader, uint64_t root) {
  FoundRoots found;
  found.is_whole = walk_readable(reader, root, kChildBytes, [&](const NodeView& leaf) {
    for (uint32_t i = 0; i < leaf.entries(); ++i) {
      const bool is_device = leaf.key(i) <= kDeviceIdMost && leaf.value64(i) < reader.blocks();
      if (is_device) found.roots[leaf.key(i)] = leaf.value64(i);
    }
  });
  return found;
}

FoundDetails find_details(BlockReader& reader, uint64_t root) {
  FoundDetails found;
  found.is_whole = walk_readable(reader, root, DeviceDetails::kBytes, [&](const NodeView& leaf) {
    for (uint32_t i = 0; i < leaf.entries(); ++i) {
      found.details[leaf.key(i)] = load_device_details(leaf.value(i));
    }
  });
  return found;
}

class MappingSurvey::Visitor final : public TreeVisitor {
 public:
  explicit Visitor(MappingSurvey& survey) : survey_(survey) {}

  std::optional<Subtree> enter(uint64_t number) override {
    const auto known = survey_.known_.find(number);
    if (known == survey_.known_.end()) {
      open_.emplace_back();
      return std::nullopt;
    }
    add(known->second.found);
    return known->second.below;
  }
  bool leaf(const NodeView& node) override {
    Found& found = open_.back();
    found.entries += node.entries();
    for (uint32_t i = 0; i < node.entries(); ++i) {
      found.newest = std::max(found.newest, Mapping::from(node.value64(i)).time);
    }
    return true;
  }
  void leave(uint64_t number, const Subtree& below) override {
    const Found found = open_.back();
    open_.pop_back();
    survey_.known_[number] = {below, found};
    add(found);
  }
  bool fault(Error) override {
    (open_.empty() ? all : open_.back()).is_whole = false;
    return true;
  }

  Found all = {};

 private:
  void add(const Found& found) {
    Found& sum = open_.empty() ? all : open_.back();
    sum.entries += found.entries;
    sum.newest = std::max(sum.newest, found.newest);
    sum.is_whole = sum.is_whole && found.is_whole;
  }

  MappingSurvey& survey_;
  std::vector<Found> open_;  // the nodes from the root to this one
};

MappingSurvey::Found MappingSurvey::look(uint64_t root) {
  Visitor visitor(*this);
  walk_tree(reader_, root, Mapping::kBytes, visitor);
  return visitor.all;
}

NodeScan scan_nodes(BlockReader& reader, const CheckProgress& progress) {
  NodeScan scan;
  NodeKinds kinds(reader);
  alignas(8) std::array<std::byte, kBlockBytes> bytes;
  for (uint64_t number = 1; number < kinds.size(); ++number) {
    if (progress) progress(number, kinds.size());
    if (!reader.read(number, bytes)) continue;
    const auto value_bytes = load_little_endian<uint32_t>(bytes, 24);
    const auto node = open_node(
        bytes, number, value_bytes == DeviceDetails::kBytes ? value_bytes : Mapping::kBytes);
    if (node) {
      kinds.add(number, *node);
    } else if (const auto copy = read_superblock(bytes, number)) {
      if (!scan.copy || copy->transaction_id > scan.copy->transaction_id) scan.copy = *copy;
    }
  }
  kinds.add_parents();
  for (uint64_t number = 1; number < kinds.size(); ++number) {
    if (kinds.of(number) == TreeKind::device_roots) scan.device_roots.push_back(number);
    if (kinds.of(number) == TreeKind::devices) scan.devices.push_back(number);
  }
  return scan;
}

}  // namespace sluice::persistent
