// Qcow2Target: extents.
#include <sys/stat.h>

#include <algorithm>

#include "core/big_endian.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "target/qcow2/refcount_block.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {
namespace {

// What may be compared with the space that a file takes.
struct FileClusters {
  uint64_t count = 0;  // up to its end
  uint64_t taken = 0;  // on its disk
};

std::optional<FileClusters> clusters_of_file(const Target& storage, uint64_t cluster_bytes) {
  const auto file = storage.bare_file();
  struct stat status{};
  if (!file || fstat(file->descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    return std::nullopt;
  }
  const auto bytes = static_cast<uint64_t>(status.st_size);
  return FileClusters{.count = (bytes + cluster_bytes - 1) / cluster_bytes,
                      .taken = static_cast<uint64_t>(status.st_blocks) * 512 / cluster_bytes};
}

// Counts the host clusters that are in use, up to a number that is enough.
class UsedClusters {
 public:
  UsedClusters(Target& storage, const Header& header) : bytes_(storage), header_(header) {}

  // Among the first `end`.
  Task count(Request& request, uint64_t end, uint64_t enough);
  uint64_t counted() const { return counted_; }

 private:
  StorageBytes bytes_;
  const Header& header_;
  uint64_t counted_ = 0;
};

Task UsedClusters::count(Request& request, uint64_t end, uint64_t enough) {
  const uint64_t per_block = header_.refcounts_per_block();
  const uint64_t table_bytes = header_.refcount_table_clusters * header_.cluster_bytes();
  const uint64_t blocks = std::min((end + per_block - 1) / per_block, table_bytes / 8);
  std::vector<std::byte> table(blocks * 8);
  Task loading = bytes_.read(request, header_.refcount_table_offset, table);
  if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
  std::vector<std::byte> block(header_.cluster_bytes());
  for (uint64_t i = 0; i < blocks && counted_ < enough; ++i) {
    const uint64_t place = load_big_endian<uint64_t>(table, i * 8) & ~uint64_t{511};
    if (place == 0) continue;
    if (place >= bytes_.exact_size()) co_return Status::from_errno(EUCLEAN);
    Task reading = bytes_.read(request, place, block);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    const uint64_t count = std::min(per_block, end - i * per_block);
    for (uint64_t each = 0; each < count; ++each) {
      if (get_refcount(block, header_.refcount_order, each) != 0) ++counted_;
    }
  }
  co_return kOk;
}

}  // namespace

Task Qcow2Target::do_extents(Request& request, Extents& found) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  if (space_.load(std::memory_order_relaxed) == Space::unknown) {
    Task judging = judge_space(request);
    if (const Status judged = co_await judging; !judged.ok()) co_return judged;
  }
  const bool by_place = found.detail() == Detail::places;
  while (!found.complete()) {
    const uint64_t offset = request.offset + found.covered_bytes();
    Run run;
    Task looking =
        image_.look_up(request, offset, request.length - found.covered_bytes(), run, by_place);
    if (const Status status = co_await looking; !status.ok()) co_return status;
    Extents part(run.length, found.detail());
    Task describing = describe(request, offset, run, part);
    if (const Status status = co_await describing; !status.ok()) co_return status;
    if (!found.add(part)) break;
  }
  co_return kOk;
}

Task Qcow2Target::describe(Request& request, uint64_t offset, const Run& run, Extents& found) {
  switch (run.kind) {
    case Kind::data:
      if (space_.load(std::memory_order_relaxed) == Space::little) {
        return find_in_file(request, run, found);
      }
      found.add(run.length, placed(kDataExtent, run, found));
      break;
    case Kind::compressed:
      found.add(run.length, placed({.compressed = true}, run, found));
      break;
    case Kind::zero:
      found.add(run.length, placed(kHoleExtent, run, found));
      break;
    case Kind::unallocated:
      return find_below(request, offset, placed(kNothingExtent, run, found), found);
  }
  return kOk;
}

// What the backing file says of a range that is not allocated here. `nothing`: the extent if it
// says nothing.
Task Qcow2Target::find_below(Request& request, uint64_t offset, Extent nothing, Extents& found) {
  const uint64_t size = backing_ == nullptr ? 0 : uint64_t{backing_->geometry().size_bytes};
  if (offset >= size) {
    found.add(found.range_bytes(), nothing);
    co_return kOk;
  }
  const uint64_t length = std::min(found.range_bytes(), size - offset);
  Extents below(length, found.detail());
  Request asking = plain(request, Op::read, offset, length);
  Task finding = backing_->extents(asking, below);
  if (const Status status = co_await finding; !status.ok()) co_return status;
  for (Extent each : below.list()) {
    ++each.depth;
    if (!found.add(each.length, each)) break;
  }
  co_return kOk;
}

// Data that may be a hole of the file, or lie behind its end.
Task Qcow2Target::find_in_file(Request& request, const Run& run, Extents& found) {
  const uint64_t size = data_end();
  if (run.host >= size) {
    found.add(run.length, placed({.zero = true}, run, found));
    co_return kOk;
  }
  const uint64_t length = std::min(run.length, size - run.host);
  Extents there(length, Detail::content);
  Request asking = plain(request, Op::read, run.host, length);
  Task finding = data().extents(asking, there);
  if (const Status status = co_await finding; !status.ok()) co_return status;
  for (const Extent& each : there.list()) {
    if (!found.add(each.length, placed({.zero = each.zero}, run, found))) break;
  }
  co_return kOk;
}

// The extent of the rest of a run, of which `found` has the beginning.
Extent Qcow2Target::placed(Extent kind, const Run& run, const Extents& found) const {
  if (found.detail() != Detail::places || image_.header().encryption) return kind;
  if (!run.has_host && run.kind != Kind::compressed) return kind;
  const auto file = data().bare_file();
  kind.file = data_path_;
  if (run.has_host) {
    kind.place = run.host + found.covered_bytes() + (file ? file->begin_bytes : 0);
  }
  return kind;
}

// With preallocated metadata, data clusters are holes of the file. As in QEMU, the file is searched
// for them only if more than a tenth of the clusters in use take no space there. Not while the
// image is written, when refcounts on the disk are old, and the file is filled.
Task Qcow2Target::judge_space(Request& request) {
  Space judged = Space::most;
  const auto file = clusters_of_file(child(0), cluster_bytes());
  if (file && geometry_.read_only) {
    const uint64_t many = std::max(file->taken * 10 / 9, file->taken + 2);
    if (file->count >= many) {
      UsedClusters used(child(0), image_.header());
      Task counting = used.count(request, file->count, many);
      const Status counted = co_await counting;
      if (counted.ok() && used.counted() >= many) judged = Space::little;
    }
  }
  space_.store(judged, std::memory_order_relaxed);
  co_return kOk;
}

}  // namespace sluice::qcow2
