// Qcow2Target: discard and write zeroes.
#include <algorithm>

#include "ring/ring.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/change.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kAllZero = uint64_t{UINT32_MAX} << kSubclusters;

// The entry of a cluster that reads as zeroes, on a host cluster or without one.
L2Entry zero_entry(uint64_t host, const MappingRules& rules) {
  const uint64_t place = host == 0 ? 0 : host | kCopied;
  if (rules.extended()) return {.entry = place, .bitmap = kAllZero};
  return {.entry = place | kZeroFlag};
}

}  // namespace

// What is discarded reads as zeroes, never as what the backing file has. Version 2 has no entry for
// that: there the data stays, as it does in an external file.
Task Qcow2Target::discard(Request& request) {
  const bool stays = image_.header().version == 2 && backing_ != nullptr;
  if (stays || image_.rules().external) return kOk;
  return discard_clusters(request);
}

Task Qcow2Target::discard_clusters(Request& request) {
  Request whole = request.child(request.offset, whole_end(request) - request.offset);
  Task unmapping = unmap(whole);
  co_return co_await unmapping;
}

// Where the range ends, or the last cluster of the disk if that is there. Look once: it may grow.
uint64_t Qcow2Target::whole_end(const Request& request) const {
  const uint64_t end = request.offset + request.length;
  const uint64_t mask = cluster_bytes() - 1;
  return end == geometry_.size_bytes ? (end + mask) & ~mask : end;
}

Task Qcow2Target::write_zeroes(Request& request) {
  const bool by_entry = image_.header().version >= 3 || (backing_ == nullptr && request.may_unmap);
  if (!by_entry || image_.rules().external) return write_zeroes_by_hand(request);
  return write_zeroes_by_entry(request);
}

// Whole clusters by their entries, what is before and after them as data.
Task Qcow2Target::write_zeroes_by_entry(Request& request) {
  const uint64_t end = request.offset + request.length;
  const uint64_t first =
      std::min(end, (request.offset + cluster_bytes() - 1) & ~(cluster_bytes() - 1));
  const uint64_t last = whole_end(request) & ~(cluster_bytes() - 1);
  if (first != request.offset || last < end) {
    if (request.fast_only) co_return Status::from_errno(EOPNOTSUPP);
    const uint64_t head_end = last <= first ? end : first;
    Request head = request.child(request.offset, head_end - request.offset);
    const uint64_t tail_begin = std::min(end, std::max(last, head_end));
    Request tail = request.child(tail_begin, end - tail_begin);
    for (Request* const part : {&head, &tail}) {
      if (part->length == 0) continue;
      part->fua = false;
      Task writing = write_zeroes_by_hand(*part);
      if (const Status written = co_await writing; !written.ok()) co_return written;
    }
  }
  if (last <= first) co_return kOk;
  Request middle = request.child(first, last - first);
  Task unmapping = unmap(middle);
  co_return co_await unmapping;
}

// The whole clusters of the range, which may go on to the end of the disk's last one.
Task Qcow2Target::unmap(Request& request) {
  const uint64_t mask = cluster_bytes() - 1;
  const uint64_t end = request.offset + request.length;
  const uint64_t last = end & ~mask;
  for (uint64_t offset = (request.offset + mask) & ~mask; offset < last;) {
    const uint64_t span = image_.header().table_span_bytes();
    const bool is_zero = request.op == Op::discard || backing_ == nullptr;
    if (is_zero) {
      RangeLock::Hold hold(ranges_, *request.ring, offset, 1, RangeLock::Mode::shared);
      co_await hold;
      if (!image_.has_table(offset)) {
        const uint64_t next = offset / span * span + span;
        mark(offset, std::min(next, last) - offset);
        offset = next;
        continue;
      }
    }
    const uint64_t clusters = std::min({image_.clusters_together(offset), uint64_t{Change::kMost},
                                        (last - offset) / cluster_bytes()});
    Task step = unmap_step(request, offset, clusters);
    if (const Status status = co_await step; !status.ok()) co_return status;
    offset += clusters * cluster_bytes();
  }
  co_return kOk;
}

Task Qcow2Target::unmap_step(Request& request, uint64_t offset, uint64_t clusters) {
  RangeLock::Hold hold(ranges_, *request.ring, offset, clusters * cluster_bytes(),
                       RangeLock::Mode::exclusive);
  co_await hold;
  mark(offset, clusters * cluster_bytes());
  Change change{.offset = offset, .count = clusters};
  Task preparing = image_.prepare_table(request, offset);
  if (const Status status = co_await preparing; !status.ok()) {
    Task judging = judge(request, status);
    co_return co_await judging;
  }
  Task loading = image_.load_entries(request, offset, change.old_entries());
  if (const Status status = co_await loading; !status.ok()) co_return status;
  for (size_t i = 0; i < change.count; ++i) {
    change.now[i] = unmapped(change.old[i], request);
    // Its host cluster is no longer led to.
    change.fresh[i] = change.now[i].host_offset() == 0;
  }
  Task storing = store_unmapped(request, change);
  co_return co_await storing;
}

// Entries that rely on no refcounts.
Task Qcow2Target::store_unmapped(Request& request, Change& change) {
  if (change.old == change.now) co_return kOk;
  BlockVersion stored;
  Task storing = image_.store_entries(request, change.offset, change.new_entries(), {}, stored);
  if (const Status status = co_await storing; !status.ok()) co_return status;
  Task dropping = drop_replaced(request, change, stored);
  std::ignore = co_await dropping;  // what cannot be dropped is leaked
  if (request.op == Op::discard) co_return kOk;
  Task keeping = image_.keep(request, stored);
  co_return co_await keeping;
}

L2Entry Qcow2Target::unmapped(const L2Entry& old, const Request& request) const {
  const MappingRules rules = image_.rules();
  const bool has_zeroes = rules.version >= 3;
  if (request.op == Op::discard) {
    if (old == L2Entry{} || backing_ == nullptr) return {};
    return zero_entry(0, rules);
  }
  const bool keeps = !request.may_unmap && !old.is_compressed() && old.is_copied();
  if (!has_zeroes) return {};
  return zero_entry(keeps ? old.host_offset() : 0, rules);
}

}  // namespace sluice::qcow2
