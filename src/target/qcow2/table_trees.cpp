// TableSwitch: what L1 tables lead to.
#include <algorithm>
#include <tuple>

#include "core/private_loan.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/storage_bytes.hpp"
#include "target/qcow2/table_switch.hpp"

namespace sluice::qcow2 {

Task TableSwitch::fork(Request& request, const std::vector<uint64_t>& source, uint64_t l1_entries) {
  refcounts_.begin();
  new_l1_.assign(l1_entries, 0);
  for (size_t i = 0; i < std::min<size_t>(source.size(), l1_entries); ++i) {
    uint64_t place = source[i] & kOffsetMask;
    if (place == 0) continue;
    Task reading = read_l2(request, place);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    bool any_copied = false;
    Task counting = count_entries(request, true, any_copied);
    if (const Status counted = co_await counting; !counted.ok()) co_return counted;
    if (any_copied) {
      Task writing = write_l2(request, place);
      if (const Status written = co_await writing; !written.ok()) co_return written;
      new_l1_[i] = place | kCopied;
      continue;
    }
    Task loading = load(request, place);
    if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
    if (const Status raised = refcounts_.raise(place); !raised.ok()) co_return raised;
    new_l1_[i] = place;
  }
  co_return kOk;
}

// The tables first, so that an L2 table that only this L1 table leads to is still there.
Task TableSwitch::drop_tree(Request& request, uint64_t l1_offset, const std::vector<uint64_t>& l1) {
  refcounts_.begin();
  for (const uint64_t entry : l1) {
    const uint64_t place = entry & kOffsetMask;
    if (place == 0) continue;
    Task reading = read_l2(request, place);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    bool any_copied = false;
    Task counting = count_entries(request, false, any_copied);
    if (const Status counted = co_await counting; !counted.ok()) co_return counted;
    Task dropping = drop_table(request, place);
    if (const Status dropped = co_await dropping; !dropped.ok()) co_return dropped;
  }
  for (uint64_t done = 0; done < l1.size() * sizeof(uint64_t); done += cluster_bytes_) {
    Task dropping = drop_table(request, l1_offset + done);
    if (const Status dropped = co_await dropping; !dropped.ok()) co_return dropped;
  }
  co_return kOk;
}

// A table whose blocks the cache may have stays allocated until these are forgotten.
Task TableSwitch::drop_table(Request& request, uint64_t place) {
  Task loading = load(request, place);
  if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
  if (refcounts_.count(place) != 1) co_return refcounts_.lower(place);
  replaced_.push_back(place);
  co_return kOk;
}

Task TableSwitch::mark_copied(Request& request) {
  new_l1_.clear();
  for (const auto& entry : image_.l1_) new_l1_.push_back(entry.load() & kOffsetMask);
  for (uint64_t& entry : new_l1_) {
    const uint64_t former = entry;
    if (former == 0) continue;
    Task loading = load(request, former);
    if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
    if (refcounts_.count(former) != 1) continue;
    Task reading = read_l2(request, former);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    bool changed = false;
    Task setting = set_copied_flags(request, changed);
    if (const Status set = co_await setting; !set.ok()) co_return set;
    if (changed) {
      Task writing = write_l2(request, entry);
      if (const Status written = co_await writing; !written.ok()) co_return written;
      replaced_.push_back(former);
    }
    entry |= kCopied;
  }
  for (uint64_t done = 0; done < image_.l1_.size() * sizeof(uint64_t); done += cluster_bytes_) {
    replaced_.push_back(image_.header_.l1_offset + done);
  }
  co_return kOk;
}

// --- L2 tables

Task TableSwitch::read_l2(Request& request, uint64_t place) {
  if (const Status in_time = check_time(); !in_time.ok()) co_return in_time;
  const bool fits = place % cluster_bytes_ == 0 && image_.check_table_offset(place).ok();
  // Of the tables that are known, only those of the disk are L2 tables.
  const bool other = image_.is_metadata(place, 1) && !std::ranges::binary_search(active_, place);
  if (!fits || other) co_return Status::from_errno(EUCLEAN);
  StorageBytes bytes(image_.storage_);
  Task reading = bytes.read(request, place, l2_.bytes());
  co_return co_await reading;
}

// As a new table; `place` becomes its place.
Task TableSwitch::write_l2(Request& request, uint64_t& place) {
  place = places_[used_places_++].offset;
  return write_bytes(request, place, l2_.bytes());
}

// Counts what the entries of the table lead to once more, or once less. If more, clears the flags
// that what they lead to is written in place.
Task TableSwitch::count_entries(Request& request, bool more, bool& any_copied) {
  const MappingRules rules = image_.rules();
  for (size_t at = 0; at < l2_.bytes().size(); at += rules.entry_bytes) {
    L2Entry entry = load_entry(l2_.bytes(), at, rules);
    if (entry == L2Entry{}) continue;
    const Status fits = check_entry(entry, 0, rules);
    if (!fits.ok() || image_.leads_to_metadata(entry)) co_return Status::from_errno(EUCLEAN);
    const Hosts hosts = hosts_of(entry);
    for (uint64_t host = hosts.begin; host < hosts.end; host += cluster_bytes_) {
      if (!refcounts_.has(host)) {
        Task loading = refcounts_.load(request, host);
        if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
      }
      const Status counted = more ? refcounts_.raise(host) : drop_data(host);
      if (!counted.ok()) co_return counted;
    }
    if (!more || !entry.is_copied()) continue;
    any_copied = true;
    entry.entry &= ~kCopied;
    store_entry(l2_.bytes(), at, entry, rules);
  }
  co_return kOk;
}

TableSwitch::Hosts TableSwitch::hosts_of(const L2Entry& entry) const {
  if (entry.is_compressed()) {
    const CompressedPlace place = entry.compressed_place(image_.header_.cluster_bits);
    return {.begin = place.offset & ~(cluster_bytes_ - 1), .end = place.offset + place.length};
  }
  const uint64_t host = entry.host_offset();
  return {.begin = host, .end = host == 0 ? 0 : host + 1};
}

Status TableSwitch::drop_data(uint64_t host) {
  const Status lowered = refcounts_.lower(host);
  if (!lowered.ok() || refcounts_.count(host) != 0) return lowered;
  if (freed_.empty() || freed_.back().offset + freed_.back().count * cluster_bytes_ != host) {
    freed_.push_back({.offset = host, .count = 0});
  }
  ++freed_.back().count;
  return kOk;
}

Task TableSwitch::set_copied_flags(Request& request, bool& changed) {
  const MappingRules rules = image_.rules();
  for (size_t at = 0; at < l2_.bytes().size(); at += rules.entry_bytes) {
    L2Entry entry = load_entry(l2_.bytes(), at, rules);
    if (entry.is_compressed() || entry.host_offset() == 0) continue;
    if (!check_entry(entry, 0, rules).ok()) co_return Status::from_errno(EUCLEAN);
    Task loading = load(request, entry.host_offset());
    if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
    const uint64_t flag = refcounts_.count(entry.host_offset()) == 1 ? kCopied : 0;
    if ((entry.entry & kCopied) == flag) continue;
    changed = true;
    entry.entry ^= kCopied;
    store_entry(l2_.bytes(), at, entry, rules);
  }
  co_return kOk;
}

Task TableSwitch::load(Request& request, uint64_t cluster) {
  if (refcounts_.has(cluster)) return kOk;
  return refcounts_.load(request, cluster);
}

Task TableSwitch::write_bytes(Request& request, uint64_t offset, std::span<std::byte> bytes) {
  PrivateLoan loan(Direction::source, bytes);
  Request writing = transfer(request, Op::write, offset, loan.view());
  Task served = image_.storage_.submit(writing);
  co_return co_await served;
}

// Nothing on the disk leads to them any more.
Task TableSwitch::discard_freed(Request& request) {
  if (!image_.storage_.geometry().can_discard) co_return kOk;
  for (const Allocation& each : freed_) {
    if (!check_time().ok()) break;
    Request discarding = plain(request, Op::discard, each.offset, each.count * cluster_bytes_);
    Task served = image_.storage_.submit(discarding);
    if (!(co_await served).ok()) break;
  }
  co_return kOk;
}

}  // namespace sluice::qcow2
