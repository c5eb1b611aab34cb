#include "target/qcow2/change.hpp"

#include <algorithm>

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kAllSubclusters = UINT32_MAX;

// With the contents of a whole host cluster of others, a fresh one is filled as a whole.
bool is_filled_whole(const L2Entry& old, const MappingRules& rules) {
  return !rules.extended() || old.is_compressed() || old.host_offset() != 0;
}

// The subclusters that [begin, end) of the cluster touches, as bits.
uint64_t touched(uint64_t begin, uint64_t end, const MappingRules& rules) {
  const uint64_t first = begin / rules.unit_bytes();
  const uint64_t last = (end - 1) / rules.unit_bytes();
  return (kAllSubclusters >> (kSubclusters - 1 - (last - first))) << first;
}

// Whether what is around the written bytes in the unit at `in_cluster` is there already.
bool is_there(const Change& change, size_t index, uint64_t in_cluster, const MappingRules& rules) {
  const uint64_t unit = in_cluster / rules.unit_bytes();
  return !change.fresh[index] && kind_of(change.old[index], unit, rules) == Kind::data;
}

// How much is filled at once around the written bytes of a cluster.
uint64_t step_of(const Change& change, size_t index, const MappingRules& rules) {
  const bool whole = change.fresh[index] && is_filled_whole(change.old[index], rules);
  return whole ? rules.cluster_bytes() : rules.unit_bytes();
}

}  // namespace

void plan_cluster(Change& change, size_t index, uint64_t begin, uint64_t end,
                  const MappingRules& rules) {
  const uint64_t cluster = change.offset + index * rules.cluster_bytes();
  const L2Entry& old = change.old[index];
  L2Entry& now = change.now[index];
  const bool kept = rules.external || (!old.is_compressed() && old.is_copied());
  const uint64_t host = rules.external ? cluster : old.host_offset();
  change.fresh[index] = !kept;
  now.entry = kept ? host | kCopied : 0;
  if (!rules.extended()) return;
  if (!kept && is_filled_whole(old, rules)) {
    now.bitmap = kAllSubclusters;
    return;
  }
  const uint64_t first = std::max(begin, cluster) - cluster;
  const uint64_t last = std::min(end, cluster + rules.cluster_bytes()) - cluster;
  const uint64_t written = touched(first, last, rules);
  now.bitmap = (old.bitmap | written) & ~(written << kSubclusters);
}

Edge front_edge(const Change& change, uint64_t begin, const MappingRules& rules) {
  const uint64_t in_cluster = begin - change.offset;
  const uint64_t host = rules.external ? change.offset : change.now[0].host_offset();
  if (is_there(change, 0, in_cluster, rules)) return {};
  const uint64_t lead = in_cluster % step_of(change, 0, rules);
  return {.begin = begin - lead, .end = begin, .host = host + in_cluster - lead};
}

Edge back_edge(const Change& change, uint64_t end, const MappingRules& rules) {
  const size_t last = change.count - 1;
  const uint64_t cluster = change.offset + last * rules.cluster_bytes();
  const uint64_t in_cluster = end - cluster;
  const uint64_t host = rules.external ? cluster : change.now[last].host_offset();
  if (is_there(change, last, in_cluster - 1, rules)) return {};
  const uint64_t step = step_of(change, last, rules);
  const uint64_t rest = (step - in_cluster % step) % step;
  return {.begin = end, .end = end + rest, .host = host + in_cluster};
}

}  // namespace sluice::qcow2
