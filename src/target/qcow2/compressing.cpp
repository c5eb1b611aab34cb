// Qcow2Target: writing compressed clusters.
#include <algorithm>
#include <vector>

#include "core/buffer.hpp"
#include "core/child_requests.hpp"
#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "ring/offload.hpp"
#include "ring/ring.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/change.hpp"
#include "target/qcow2/compress.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {

// Whole clusters, and the last one of the disk; what is before and after them as usual.
Task Qcow2Target::write_compressed(Request& request) {
  const uint64_t mask = cluster_bytes() - 1;
  const uint64_t end = request.offset + request.length;
  const uint64_t first = std::min(end, (request.offset + mask) & ~mask);
  const uint64_t last = end == geometry_.size_bytes ? end : std::max(first, end & ~mask);
  for (uint64_t offset = request.offset; offset < end;) {
    const bool is_whole = offset >= first && offset < last;
    const uint64_t until = offset < first ? first : is_whole ? last : end;
    const uint64_t length = std::min(until - offset, step_bytes(offset));
    Request step =
        request.child(offset, request.data.slice(static_cast<uint32_t>(offset - request.offset),
                                                 static_cast<uint32_t>(length), *request.arena));
    Task writing = is_whole ? compress_step(step) : write_step(step);
    if (const Status status = co_await writing; !status.ok()) co_return status;
    offset += length;
  }
  co_return kOk;
}

// All clusters at once; those that do not become smaller are written as they are.
Task Qcow2Target::compress_step(Request& request) {
  const uint64_t count = (request.length + cluster_bytes() - 1) / cluster_bytes();
  const Buffer memory(count * cluster_bytes());
  std::vector<uint32_t> lengths(count);
  const auto part_of = [&](uint64_t from, uint64_t to) {
    const uint64_t begin = from * cluster_bytes();
    const uint64_t end = std::min(to * cluster_bytes(), request.length);
    return request.child(request.offset + begin,
                         request.data.slice(static_cast<uint32_t>(begin),
                                            static_cast<uint32_t>(end - begin), *request.arena));
  };
  {
    ChildRequests parts(request, count);
    Gather children(request, count);
    for (uint64_t i = 0; i < count; ++i) {
      const auto stream = memory.bytes().subspan(i * cluster_bytes(), cluster_bytes() - 1);
      children.add(compress_cluster(parts.add(part_of(i, i + 1)), stream, lengths[i]));
    }
    if (const Status compressed = co_await children; !compressed.ok()) co_return compressed;
  }
  for (uint64_t from = 0; from < count;) {
    uint64_t to = from + 1;
    while (to < count && (lengths[to] == 0) == (lengths[from] == 0)) ++to;
    Request part = part_of(from, to);
    Task writing = lengths[from] == 0
                       ? write_step(part)
                       : write_streams(part, memory.bytes().subspan(from * cluster_bytes()),
                                       std::span(lengths).subspan(from, to - from));
    if (const Status written = co_await writing; !written.ok()) co_return written;
    from = to;
  }
  co_return kOk;
}

// What the disk does not have of its last cluster is zero.
Task Qcow2Target::compress_cluster(Request& request, std::span<std::byte> stream,
                                   uint32_t& length) {
  const Buffer cluster(cluster_bytes());
  std::ranges::fill(cluster.bytes().subspan(request.length), std::byte{0});
  auto copying = request.ring->copy_out(request.data, cluster.bytes().first(request.length));
  if (const Status copied = co_await copying; !copied.ok()) co_return copied;
  const Compression type = image_.header().compression;
  auto work = [&] {
    length = static_cast<uint32_t>(compress(type, cluster.bytes(), stream));
    return kOk;
  };
  RingOffload* const offload = RingOffload::of(*request.ring);
  if (offload == nullptr) co_return work();
  Offload::Job job(offload->threads, offload->count, "compress", work);
  co_return co_await job;
}

// Like write_changing(). Each stream is at the beginning of its cluster in `memory`.
Task Qcow2Target::write_streams(Request& request, std::span<const std::byte> memory,
                                std::span<const uint32_t> lengths) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, lengths.size() * cluster_bytes(),
                       RangeLock::Mode::exclusive);
  co_await hold;
  mark(request.offset, request.length);
  Change change{.offset = request.offset, .count = lengths.size()};
  Task loading = load_change(request, change);
  Status status = co_await loading;
  if (!status.ok()) co_return status;
  PackedStreams streams{.lengths = {lengths.begin(), lengths.end()}};
  Task packing = pack(request, memory, streams);
  status = co_await packing;
  BlockVersion stored;
  if (status.ok()) {
    for (size_t i = 0; i < change.count; ++i) {
      change.fresh[i] = true;
      change.now[i] =
          L2Entry::of_stream(streams.offsets[i], lengths[i], image_.header().cluster_bits);
    }
    Task storing = image_.store_entries(request, request.offset, change.new_entries(),
                                        streams.counted, stored);
    status = co_await storing;
    if (!status.ok()) {
      Task returning = image_.clusters().give_back_packed(request, streams);
      std::ignore = co_await returning;  // what cannot be given back is leaked
    }
  }
  if (!status.ok()) {
    Task judging = judge(request, status);
    co_return co_await judging;
  }
  Task dropping = drop_replaced(request, change, stored);
  std::ignore = co_await dropping;  // the data is written; what cannot be dropped is leaked
  Task keeping = image_.keep(request, stored);
  co_return co_await keeping;
}

// Allocates space for the streams and writes them. One request at a time: streams share blocks of
// the storage. A block that was made durable for a client is not written again.
Task Qcow2Target::pack(Request& request, std::span<const std::byte> memory,
                       PackedStreams& streams) {
  AsyncMutex::Hold hold(packing_, *request.ring);
  co_await hold;
  const uint64_t flushes = flushes_.load(std::memory_order_relaxed);
  const bool is_flushed = std::exchange(packed_before_, flushes) != flushes;
  const uint64_t block =
      std::min<uint64_t>(child(0).geometry().physical_block_bytes, cluster_bytes());
  Task allocating = image_.clusters().allocate_packed(request, is_flushed ? block : 1, streams);
  if (const Status allocated = co_await allocating; !allocated.ok()) co_return allocated;
  Status status;
  const size_t count = streams.lengths.size();
  for (size_t first = 0; first < count && status.ok();) {
    std::vector<std::byte> bytes;
    size_t end = first;
    for (uint64_t next = streams.offsets[first]; end < count && streams.offsets[end] == next;
         ++end) {
      const auto stream = memory.subspan(end * cluster_bytes(), streams.lengths[end]);
      bytes.insert(bytes.end(), stream.begin(), stream.end());
      next += stream.size();
    }
    Task writing = write_packed(request, streams.offsets[first], bytes);
    status = co_await writing;
    first = end;
  }
  if (status.ok()) co_return status;
  Task returning = image_.clusters().give_back_packed(request, streams);
  std::ignore = co_await returning;  // what cannot be given back is leaked
  co_return status;
}

// In whole blocks: behind what the first one has already.
Task Qcow2Target::write_packed(Request& request, uint64_t offset,
                               std::span<const std::byte> bytes) {
  const uint64_t block = child(0).geometry().logical_block_bytes;
  const uint64_t lead = offset % block;
  const uint64_t used = lead + bytes.size();
  const Buffer memory((used + block - 1) / block * block);
  const auto rest = std::ranges::copy(std::span(packed_tail_).first(lead), memory.bytes().begin());
  const auto behind = std::ranges::copy(bytes, rest.out);
  std::fill(behind.out, memory.bytes().end(), std::byte{0});
  const auto tail = memory.bytes().subspan(used / block * block, used % block);
  packed_tail_.assign(tail.begin(), tail.end());
  PrivateLoan loan(Direction::source, memory.bytes());
  Request writing = transfer(request, Op::write, offset - lead, loan.view());
  Task written = child(0).submit(writing);
  co_return co_await written;
}

}  // namespace sluice::qcow2
