#include "target/qcow2/offline/reference_map.hpp"

#include <algorithm>

namespace sluice::qcow2 {
namespace {

void add_capped(uint8_t& counter, uint64_t times) {
  counter = static_cast<uint8_t>(std::min<uint64_t>(UINT8_MAX, counter + times));
}

}  // namespace

ReferenceMap::ReferenceMap(const Header& header, uint64_t file_bytes)
    : cluster_bits_(header.cluster_bits),
      file_bytes_(file_bytes),
      refcount_max_(header.refcount_max()),
      clusters_((file_bytes >> cluster_bits_) +
                ((file_bytes & (header.cluster_bytes() - 1)) != 0 ? 1 : 0)) {}

std::optional<ReferenceMap::Counted> ReferenceMap::add(uint64_t offset, uint64_t length,
                                                       ClusterUse use, uint64_t times) {
  Counted counted;
  if (length == 0) return counted;
  const uint64_t end_max = file_bytes_ + (uint64_t{1} << cluster_bits_);
  if (offset >= end_max || length >= end_max - offset) return std::nullopt;
  const uint64_t last = (offset + length - 1) >> cluster_bits_;
  clusters_ = std::max(clusters_, last + 1);
  for (uint64_t cluster = offset >> cluster_bits_; cluster <= last; ++cluster) {
    ClusterReferences& references = make(cluster);
    const uint64_t before = wanted(references);
    const uint64_t added =
        std::min<uint64_t>(times, ClusterReferences::kCountMax - references.count);
    references.count += static_cast<uint32_t>(added);
    counted.overflows += times - (wanted(references) - before);
    references.uses |= use;
  }
  return counted;
}

void ReferenceMap::remove(uint64_t offset, uint64_t length) {
  for (uint64_t cluster = offset >> cluster_bits_;
       cluster <= (offset + length - 1) >> cluster_bits_; ++cluster) {
    ClusterReferences& references = make(cluster);
    if (references.count < ClusterReferences::kCountMax) --references.count;
  }
}

void ReferenceMap::note_copied(uint64_t offset, bool is_copied, uint64_t times) {
  ClusterReferences& references = make(offset >> cluster_bits_);
  add_capped(is_copied ? references.copied : references.not_copied, times);
}

ClusterReferences ReferenceMap::at(uint64_t cluster) const {
  const auto found = groups_.find(cluster / kGroup * kGroup);
  return found == groups_.end() ? ClusterReferences{} : found->second[cluster % kGroup];
}

uint64_t ReferenceMap::end_of_use() const {
  for (auto each = groups_.rbegin(); each != groups_.rend(); ++each) {
    for (uint64_t i = kGroup; i > 0; --i) {
      if (each->second[i - 1].count > 0) return each->first + i;
    }
  }
  return 1;
}

ClusterReferences& ReferenceMap::make(uint64_t cluster) {
  const uint64_t first = cluster / kGroup * kGroup;
  if (last_ == nullptr || last_->first != first) last_ = &*groups_.try_emplace(first).first;
  return last_->second[cluster % kGroup];
}

}  // namespace sluice::qcow2
