// Qcow2Target: reading.
#include <algorithm>

#include "core/buffer.hpp"
#include "core/child_requests.hpp"
#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "ring/offload.hpp"
#include "ring/ring.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/decompress.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kRunsAtOnce = 16;

}  // namespace

Task Qcow2Target::read(Request& request) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  Run run;
  Task looking = image_.look_up(request, request.offset, request.length, run);
  if (const Status found = co_await looking; !found.ok()) co_return found;
  Task reading = run.length == request.length ? read_run(request, run) : read_runs(request, run);
  co_return co_await reading;
}

Task Qcow2Target::read_runs(Request& request, Run run) {
  for (uint64_t done = 0; done < request.length;) {
    ChildRequests parts(request, kRunsAtOnce);
    Gather children(request, kRunsAtOnce);
    Status found;
    for (size_t i = 0; i < kRunsAtOnce && done < request.length; ++i) {
      if (run.length == 0) {
        Task next = image_.look_up(request, request.offset + done, request.length - done, run);
        found = co_await next;
        if (!found.ok()) break;
      }
      View part = request.data.slice(static_cast<uint32_t>(done), static_cast<uint32_t>(run.length),
                                     *request.arena);
      Request& reading = parts.add(request.child(request.offset + done, std::move(part)));
      done += run.length;
      children.add(read_run(reading, run));
      run.length = 0;
    }
    const Status read = co_await children;
    if (!read.ok()) co_return read;
    if (!found.ok()) co_return found;
  }
  co_return kOk;
}

Task Qcow2Target::read_run(Request& request, const Run& run) {
  switch (run.kind) {
    case Kind::data:
      return read_host(request, run.host);
    case Kind::compressed:
      return read_compressed(request, run.entry);
    case Kind::unallocated:
      if (backing_ != nullptr) {
        return read_cut(request, *backing_, request.offset, backing_->geometry().size_bytes);
      }
      break;
    case Kind::zero:
      break;
  }
  return fill_with_zeroes(request);
}

Task Qcow2Target::read_host(Request& request, uint64_t host) {
  return read_cut(request, data(), host, data_end());
}

// What lies beyond the end of a shorter backing file, or of the image's file, is zero.
Task Qcow2Target::read_cut(Request& request, Target& from, uint64_t offset, uint64_t end) {
  if (offset + request.length <= end) return forward(request, from, offset);
  if (offset >= end) return fill_with_zeroes(request);
  return read_over_end(request, from, offset, end);
}

Task Qcow2Target::read_over_end(Request& request, Target& from, uint64_t offset, uint64_t end) {
  const auto there = static_cast<uint32_t>(end - offset);
  Request first = request.child(offset, request.data.slice(0, there, *request.arena));
  Task reading = from.submit(first);
  if (const Status read = co_await reading; !read.ok()) co_return read;
  const auto beyond = static_cast<uint32_t>(request.length - there);
  Request rest = request.child(offset, request.data.slice(there, beyond, *request.arena));
  Task filling = fill_with_zeroes(rest);
  co_return co_await filling;
}

Task Qcow2Target::fill_with_zeroes(Request& request) {
  auto zeroing = request.ring->zero(request.data);
  co_return co_await zeroing;
}

Task Qcow2Target::read_compressed(Request& request, L2Entry entry) {
  const CompressedPlace place = entry.compressed_place(image_.header().cluster_bits);
  const Buffer stream(place.length);
  StorageBytes bytes(child(0));
  Task reading = bytes.read(request, place.offset, stream.bytes());
  if (const Status read = co_await reading; !read.ok()) co_return read;
  const Buffer cluster(cluster_bytes());
  const Compression type = image_.header().compression;
  auto expand = [&] { return decompress(type, stream.bytes(), cluster.bytes()); };
  Status expanded;
  if (RingOffload* const offload = RingOffload::of(*request.ring); offload != nullptr) {
    Offload::Job job(offload->threads, offload->count, "decompress", expand);
    expanded = co_await job;
  } else {
    expanded = expand();
  }
  if (!expanded.ok()) {
    errors_.report(request, expanded.error(), "a compressed cluster is damaged");
    co_return expanded;
  }
  auto copying = request.ring->copy_in(
      request.data, cluster.bytes().subspan(request.offset % cluster_bytes(), request.length));
  co_return co_await copying;
}

}  // namespace sluice::qcow2
