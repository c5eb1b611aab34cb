#include <fcntl.h>

#include <algorithm>

#include "core/step.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair_steps.hpp"
#include "target/qcow2/refcount_block.hpp"

namespace sluice::qcow2 {
namespace {

// Corrects the refcounts of the clusters from `first` on in the bytes of their block. The bytes
// that have changed: from `begin` to `end`.
struct ChangedBytes {
  size_t begin = SIZE_MAX;
  size_t end = 0;
};
ChangedBytes correct_block(const Check& check, Correction which, uint64_t first,
                           std::span<std::byte> block) {
  const uint32_t order = check.header.refcount_order;
  const uint64_t count =
      std::min(check.header.refcounts_per_block(), check.references.clusters() - first);
  ChangedBytes changed;
  ReferenceMap::Group none{};
  const ReferenceMap::Group* group = &none;
  for (uint64_t i = 0; i < count; ++i) {
    if (i % ReferenceMap::kGroup == 0) {
      const auto found = check.references.groups().find(first + i);
      group = found == check.references.groups().end() ? &none : &found->second;
    }
    const uint64_t wanted = check.references.wanted((*group)[i % ReferenceMap::kGroup]);
    const uint64_t refcount = get_refcount(block, order, i);
    if (which == Correction::raise ? refcount >= wanted : refcount <= wanted) continue;
    set_refcount(block, order, i, wanted);
    changed.begin = std::min(changed.begin, (i << order) / 8);
    changed.end = ((i + 1) << order) / 8 + 1;
  }
  changed.end = std::min(changed.end, block.size());
  return changed;
}

}  // namespace

Result<void> correct_refcounts(int descriptor, const Check& check, Correction which) {
  const uint64_t per_block = check.header.refcounts_per_block();
  for (const auto& [index, offset] : check.refcount_blocks) {
    const uint64_t first = index * per_block;
    if (first >= check.references.clusters()) break;
    auto block = read_image(descriptor, offset, check.header.cluster_bytes());
    if (!block) return std::unexpected(block.error());
    const auto [begin, end] = correct_block(check, which, first, *block);
    if (begin >= end) continue;
    const auto part = std::span<const std::byte>(*block).subspan(begin, end - begin);
    if (auto done = write_image(descriptor, offset + begin, part); !done) return done;
    step(which == Correction::raise ? "repair: a block raised" : "repair: a block lowered");
  }
  return sync_image(descriptor);
}

// Best effort: not all file systems can give space back.
Result<void> free_unreferenced(int descriptor, const Check& before) {
  const auto after = check_image(descriptor);
  if (!after) return std::unexpected(after.error());
  if (!after->complete || after->rebuild) return {};
  const auto cluster = static_cast<off_t>(before.header.cluster_bytes());
  for (const auto& [first, group] : before.references.groups()) {
    for (uint64_t i = 0; i < group.size(); ++i) {
      if (group[i].count == 0 || after->references.at(first + i).count != 0) continue;
      fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(first + i) * cluster, cluster);
    }
  }
  return correct_refcounts(descriptor, *after, Correction::lower);
}

}  // namespace sluice::qcow2
