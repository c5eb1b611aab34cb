// Qcow2Target: writing.
#include <algorithm>
#include <array>

#include "core/buffer.hpp"
#include "core/child_requests.hpp"
#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "ring/ring.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/change.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {

// In steps of clusters whose entries are in one block of the cache: usually one.
Task Qcow2Target::write(Request& request) {
  if (request.length <= step_bytes(request.offset)) return write_step(request);
  return write_steps(request);
}

uint64_t Qcow2Target::step_bytes(uint64_t offset) const {
  const uint64_t clusters = std::min(image_.clusters_together(offset), uint64_t{Change::kMost});
  return clusters * cluster_bytes() - offset % cluster_bytes();
}

Task Qcow2Target::write_steps(Request& request) {
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t offset = request.offset + done;
    const uint64_t length = std::min(request.length - done, step_bytes(offset));
    Request step =
        request.child(offset, request.data.slice(static_cast<uint32_t>(done),
                                                 static_cast<uint32_t>(length), *request.arena));
    Task writing = write_step(step);
    if (const Status status = co_await writing; !status.ok()) co_return status;
    done += length;
  }
  co_return kOk;
}

Task Qcow2Target::write_step(Request& request) {
  bool written = false;
  Task in_place = write_in_place(request, written);
  const Status status = co_await in_place;
  if (written || !status.ok()) co_return status;
  Task changing = write_changing(request);
  co_return co_await changing;
}

// If all of it is where it may be overwritten.
Task Qcow2Target::write_in_place(Request& request, bool& written) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  Run first;
  Task looking = look_up_writable(request, 0, first);
  if (const Status status = co_await looking; !status.ok() || !first.in_place) co_return status;
  if (first.length == request.length) {
    written = true;
    mark(request.offset, request.length);
    Request writing = transfer(request, Op::write, first.host, request.data);
    Task served = data().submit(writing);
    co_return co_await served;
  }
  Task writing = write_runs_in_place(request, first, written);
  co_return co_await writing;
}

// The run at `done` of the request, which is not to be written in place if that is metadata.
Task Qcow2Target::look_up_writable(Request& request, uint64_t done, Run& run) {
  Task looking = image_.look_up(request, request.offset + done, request.length - done, run);
  if (const Status status = co_await looking; !status.ok()) co_return status;
  if (!run.in_place) co_return kOk;
  const uint64_t offset = request.offset + done;
  if (overwrites_metadata(run.host, run.length)) {
    Task reporting = image_.report_corruption(request, offset);
    co_return co_await reporting;
  }
  if (image_.is_counted(offset)) co_return kOk;
  Task counting = image_.check_counted(request, offset, run.length);
  co_return co_await counting;
}

Task Qcow2Target::write_runs_in_place(Request& request, Run first, bool& written) {
  std::array<Run, Change::kMost> runs;
  runs[0] = first;
  size_t count = 1;
  for (uint64_t found = first.length; found < request.length; found += runs[count++].length) {
    if (count == runs.size()) co_return kOk;
    Task looking = look_up_writable(request, found, runs[count]);
    if (const Status status = co_await looking; !status.ok()) co_return status;
    if (!runs[count].in_place) co_return kOk;
  }
  written = true;
  mark(request.offset, request.length);
  ChildRequests parts(request, count);
  Gather children(request, count);
  uint64_t done = 0;
  for (size_t i = 0; i < count; ++i) {
    View part = request.data.slice(static_cast<uint32_t>(done),
                                   static_cast<uint32_t>(runs[i].length), *request.arena);
    Request& writing = parts.add(transfer(request, Op::write, runs[i].host, std::move(part)));
    children.add(data().submit(writing));
    done += runs[i].length;
  }
  co_return co_await children;
}

// Data first, then the entries that lead to it, then what they led to before is dropped.
Task Qcow2Target::write_changing(Request& request) {
  const uint64_t mask = cluster_bytes() - 1;
  const uint64_t begin = request.offset & ~mask;
  const uint64_t end = (request.offset + request.length + mask) & ~mask;
  RangeLock::Hold hold(ranges_, *request.ring, begin, end - begin, RangeLock::Mode::exclusive);
  co_await hold;
  mark(request.offset, request.length);
  Task changing = change_clusters(request);
  co_return co_await changing;
}

// The caller holds the whole clusters of the request exclusively.
Task Qcow2Target::change_clusters(Request& request) {
  const uint64_t mask = cluster_bytes() - 1;
  const uint64_t begin = request.offset & ~mask;
  const uint64_t end = (request.offset + request.length + mask) & ~mask;
  Change change{.offset = begin, .count = (end - begin) / cluster_bytes()};
  Task loading = load_change(request, change);
  Status status = co_await loading;
  if (!status.ok()) co_return status;
  for (size_t i = 0; i < change.count; ++i) {
    plan_cluster(change, i, request.offset, request.offset + request.length, image_.rules());
  }
  BlockVersion stored;
  Task allocating = allocate(request, change);
  status = co_await allocating;
  if (status.ok()) {
    Task writing = write_data(request, change);
    status = co_await writing;
  }
  if (status.ok() && change.old == change.now) co_return status;
  if (status.ok()) {
    Task storing =
        image_.store_entries(request, begin, change.new_entries(), change.refcounts(), stored);
    status = co_await storing;
  }
  if (!status.ok()) {
    for (size_t i = 0; i < change.taken_count; ++i) image_.clusters().give_back(change.taken[i]);
    Task judging = judge(request, status);
    co_return co_await judging;
  }
  Task dropping = drop_replaced(request, change, stored);
  std::ignore = co_await dropping;  // the data is written; what cannot be dropped is leaked
  Task keeping = image_.keep(request, stored);
  co_return co_await keeping;
}

// Makes a table for the change, and reads what it has now.
Task Qcow2Target::load_change(Request& request, Change& change) {
  Task preparing = image_.prepare_table(request, change.offset);
  Status status = co_await preparing;
  if (status.ok()) {
    Task loading = image_.load_entries(request, change.offset, change.old_entries());
    status = co_await loading;
  }
  if (status.ok()) co_return status;
  Task judging = judge(request, status);
  co_return co_await judging;
}

Task Qcow2Target::allocate(Request& request, Change& change) {
  Allocation left;
  for (size_t i = 0; i < change.count; ++i) {
    const uint64_t kept = change.now[i].host_offset();
    if (!change.fresh[i] && overwrites_metadata(kept, cluster_bytes())) {
      co_return Status::from_errno(EUCLEAN);
    }
    if (!change.fresh[i]) continue;
    if (left.count == 0) {
      Task allocating = image_.clusters().allocate(request, change.fresh_from(i), left);
      if (const Status status = co_await allocating; !status.ok()) co_return status;
      change.take(left);
    }
    change.now[i].entry = left.offset | kCopied;
    left.offset += cluster_bytes();
    --left.count;
  }
  co_return kOk;
}

bool Qcow2Target::overwrites_metadata(uint64_t host, uint64_t bytes) const {
  return !image_.rules().external && image_.is_metadata(host, bytes);
}

// EUCLEAN says that the image is corrupt, which the client sees as EIO.
Task Qcow2Target::judge(Request& request, Status status) {
  if (status.error() == EUCLEAN) return image_.report_corruption(request, request.offset);
  return status;
}

// The data in runs of consecutive host clusters, and the edges.
Task Qcow2Target::write_data(Request& request, Change& change) {
  const MappingRules rules = image_.rules();
  const Edge front = front_edge(change, request.offset, rules);
  Edge back = back_edge(change, request.offset + request.length, rules);
  // An external file need not end with a cluster. It is longer than the disk while that grows.
  if (rules.external) back.end = std::min<uint64_t>(back.end, data().geometry().size_bytes);
  ChildRequests parts(request, change.count);
  Gather children(request, change.count + 2);
  const auto host_of = [&](size_t i) {
    return rules.external ? change.offset + i * cluster_bytes() : change.now[i].host_offset();
  };
  uint64_t done = 0;
  for (size_t first = 0; first < change.count;) {
    size_t end = first + 1;
    while (end < change.count && host_of(end) == host_of(end - 1) + cluster_bytes()) ++end;
    const uint64_t disk = change.offset + first * cluster_bytes();
    const uint64_t begin = std::max(request.offset, disk);
    const uint64_t until =
        std::min(request.offset + request.length, change.offset + end * cluster_bytes());
    View part = request.data.slice(static_cast<uint32_t>(done),
                                   static_cast<uint32_t>(until - begin), *request.arena);
    Request& writing =
        parts.add(transfer(request, Op::write, host_of(first) + begin - disk, std::move(part)));
    children.add(data().submit(writing));
    done += until - begin;
    first = end;
  }
  if (front.length() != 0) children.add(fill_edge(request, front));
  if (back.length() != 0) children.add(fill_edge(request, back));
  co_return co_await children;
}

// With what is on the disk there until now.
Task Qcow2Target::fill_edge(Request& request, Edge edge) {
  const Buffer memory(edge.length());
  const uint64_t size = geometry_.size_bytes;
  const auto there = static_cast<uint32_t>(std::clamp(size, edge.begin, edge.end) - edge.begin);
  std::ranges::fill(memory.bytes().subspan(there), std::byte{0});
  if (there != 0) {
    PrivateLoan loan(Direction::destination, memory.bytes());
    Request reading = transfer(request, Op::read, edge.begin, loan.view(0, there));
    Task read = read_runs(reading, {});
    if (const Status status = co_await read; !status.ok()) co_return status;
  }
  PrivateLoan loan(Direction::source, memory.bytes());
  Request writing = transfer(request, Op::write, edge.host, loan.view());
  Task written = data().submit(writing);
  co_return co_await written;
}

Task Qcow2Target::drop_replaced(Request& request, const Change& change, BlockVersion stored) {
  Status first_error;
  for (size_t i = 0; i < change.count; ++i) {
    if (!change.fresh[i]) continue;
    Task dropping = drop_entry(request, change.old[i], stored);
    const Status status = co_await dropping;
    if (first_error.ok()) first_error = status;
  }
  co_return first_error;
}

// What the entry led to, when that is over with version `stored` of its block.
Task Qcow2Target::drop_entry(Request& request, L2Entry old, BlockVersion stored) {
  uint64_t begin = old.host_offset();
  uint64_t end = begin + 1;
  if (old.is_compressed()) {
    const CompressedPlace place = old.compressed_place(image_.header().cluster_bits);
    begin = place.offset & ~(cluster_bytes() - 1);
    end = place.offset + place.length;
  } else if (begin == 0 || image_.rules().external) {
    co_return kOk;
  } else if (old.is_copied()) {
    image_.clusters().drop_only(begin);
    co_return kOk;
  }
  for (uint64_t cluster = begin; cluster < end; cluster += cluster_bytes()) {
    Task dropping = image_.clusters().drop(request, cluster, stored);
    const Status status = co_await dropping;
    if (!status.ok()) {
      Task judging = judge(request, status);
      co_return co_await judging;
    }
  }
  co_return kOk;
}

}  // namespace sluice::qcow2
