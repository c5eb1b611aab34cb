// Qcow2Target: the verbs for dirty bitmaps, and what block status says of them.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <system_error>
#include <utility>

#include "spec/shown.hpp"
#include "target/control_call.hpp"
#include "target/life/stack_life.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/bitmap_verbs.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kGranularityMin = uint64_t{1} << kGranularityBitsMin;
constexpr uint64_t kGranularityMax = uint64_t{1} << kGranularityBitsMax;

// What QEMU chooses.
uint64_t default_granularity(const Header& header) {
  return std::clamp<uint64_t>(header.cluster_bytes(), 4096, 65536);
}

Status no_bitmap(ControlCall& call, const std::string& name) {
  return call.fail(ENOENT, fmt::format("the image has no bitmap {}", shown(name)));
}

Status refuse_inconsistent(ControlCall& call, const std::string& name) {
  return call.fail(EINVAL, fmt::format("bitmap {} is inconsistent, as it was not stored: it can"
                                       " only be removed",
                                       shown(name)));
}

// Sets in `to` all that is set in `from`, of the first bytes of the disk.
void merge_bits(const Bitmap& from, Bitmap& to, uint64_t disk_bytes) {
  for (uint64_t offset = 0; offset < disk_bytes;) {
    bool dirty = false;
    const uint64_t length = from.first_run(offset, disk_bytes - offset, dirty);
    if (dirty) to.mark(offset, length);
    offset += length;
  }
}

}  // namespace

Task Qcow2Target::control_bitmaps(Request& request, ControlCall& call) {
  if (!image_.bitmap_store().is_writing()) {
    return call.fail(EROFS, "the image is read-only: add it for writing to change its bitmaps");
  }
  if (image_.corrupt()) return call.fail(EIO, "the image is corrupt, and read-only");
  const std::string& verb = call.verb.target;
  if (verb == kBitmapAdd) return add_bitmap(request, call);
  if (verb == kBitmapRemove) return remove_bitmap(request, call);
  if (verb == kBitmapMerge) return merge_bitmap(request, call);
  if (verb == kBitmapClear || verb == kBitmapEnable || verb == kBitmapDisable) {
    return change_bitmap(request, call);
  }
  return Status::from_errno(EOPNOTSUPP);
}

// The entry of a new bitmap; EINVAL and others with a reason.
Status Qcow2Target::plan_bitmap(ControlCall& call, BitmapEntry& entry) const {
  const Header& header = image_.header();
  entry.name = call.verb.text(kBitmapName);
  entry.automatic = !call.verb.flag(kBitmapDisabled);
  const uint64_t granularity = call.verb.number(kBitmapGranularity, default_granularity(header));
  if (header.version < 3) {
    return call.fail(EOPNOTSUPP,
                     "an image of version 2 cannot have bitmaps: convert it with"
                     " sluice amend -o compat=1.1");
  }
  if (header.size_bytes == 0) return call.fail(EINVAL, "a disk without bytes has no bitmaps");
  if (entry.name.empty() || entry.name.size() > kBitmapNameMax) {
    return call.fail(EINVAL, fmt::format("the name of a bitmap has 1 to {} bytes, and this one {}",
                                         kBitmapNameMax, entry.name.size()));
  }
  if (!std::has_single_bit(granularity) || granularity < kGranularityMin ||
      granularity > kGranularityMax) {
    return call.fail(EINVAL, fmt::format("the granularity is {}: give a power of two from {} to"
                                         " {} bytes",
                                         granularity, kGranularityMin, kGranularityMax));
  }
  entry.granularity_bits = static_cast<uint32_t>(std::countr_zero(granularity));
  if (image_.bitmaps().find(entry.name) != nullptr) {
    return call.fail(EEXIST, fmt::format("the image has a bitmap {} already", shown(entry.name)));
  }
  if (image_.bitmaps().all().size() >= kBitmapsMax) {
    return call.fail(ENOSPC,
                     fmt::format("the image has {} bitmaps: no more are possible", kBitmapsMax));
  }
  const uint64_t bytes = Bitmap::bytes_for(header.size_bytes, entry.granularity_bits);
  if (bytes > image_.bitmap_store().bytes_max()) {
    return call.fail(EFBIG, fmt::format("the bitmap would have {} bytes, and {} are possible:"
                                        " choose a larger granularity",
                                        bytes, image_.bitmap_store().bytes_max()));
  }
  return kOk;
}

Task Qcow2Target::add_bitmap(Request& request, ControlCall& call) {
  BitmapEntry entry;
  if (const Status planned = plan_bitmap(call, entry); !planned.ok()) co_return planned;
  std::unique_ptr<Bitmap> made;
  Task adding = image_.bitmap_store().add(request, std::move(entry), made);
  if (const Status added = co_await adding; !added.ok()) {
    co_return explain_bitmaps(call, "cannot add the bitmap", added);
  }
  RangeLock::Hold all(ranges_, *request.ring, 0, UINT64_MAX / 2, RangeLock::Mode::exclusive);
  co_await all;
  image_.bitmaps().add(std::move(made));
  co_return kOk;
}

Task Qcow2Target::remove_bitmap(Request& request, ControlCall& call) {
  const std::string name = call.verb.text(kBitmapName);
  const Bitmap* const bitmap = image_.bitmaps().find(name);
  if (bitmap == nullptr) co_return no_bitmap(call, name);
  Task removing = image_.bitmap_store().remove(request, *bitmap);
  if (const Status removed = co_await removing; !removed.ok()) {
    co_return explain_bitmaps(call, "cannot remove the bitmap", removed);
  }
  RangeLock::Hold all(ranges_, *request.ring, 0, UINT64_MAX / 2, RangeLock::Mode::exclusive);
  co_await all;
  image_.bitmaps().remove(name);
  co_return kOk;
}

// In memory: the image calls it inconsistent until it is stored at the end.
Task Qcow2Target::change_bitmap(Request& request, ControlCall& call) {
  const std::string name = call.verb.text(kBitmapName);
  Bitmap* const bitmap = image_.bitmaps().find(name);
  if (bitmap == nullptr) co_return no_bitmap(call, name);
  if (bitmap->inconsistent()) co_return refuse_inconsistent(call, name);
  RangeLock::Hold all(ranges_, *request.ring, 0, UINT64_MAX / 2, RangeLock::Mode::exclusive);
  co_await all;
  if (call.verb.target == kBitmapClear) {
    bitmap->clear();
  } else {
    bitmap->follow_writes(call.verb.target == kBitmapEnable);
    image_.bitmaps().note_change();
  }
  co_return kOk;
}

Task Qcow2Target::merge_bitmap(Request& request, ControlCall& call) {
  const std::string name = call.verb.text(kBitmapName);
  const std::string source = call.verb.text(kBitmapSource);
  Bitmap* const bitmap = image_.bitmaps().find(name);
  if (bitmap == nullptr) co_return no_bitmap(call, name);
  if (bitmap->inconsistent()) co_return refuse_inconsistent(call, name);
  if (call.children.empty()) {
    const Bitmap* const from = image_.bitmaps().find(source);
    if (from == nullptr) co_return no_bitmap(call, source);
    if (from->inconsistent()) co_return refuse_inconsistent(call, source);
    merge_bits(*from, *bitmap, geometry_.size_bytes);
    co_return kOk;
  }
  // First what the other disk says is complete.
  Bitmap found(bitmap->entry());
  if (const Status sized = found.resize(geometry_.size_bytes); !sized.ok()) {
    co_return call.fail(sized.error(), "there is no memory for another bitmap");
  }
  Target& disk = *call.children.front();
  StackLife life(disk);
  LifeCall life_call{.deadline = call.deadline, .control = control_};
  Task starting = life.start_here(request, life_call);
  if (const Status started = co_await starting; !started.ok()) {
    co_return call.fail(started.error(), std::move(life_call.why));
  }
  Task reading = read_bitmap(request, disk, call, found);
  const Status read = co_await reading;
  Task stopping = life.stop_here(request, life_call);
  [[maybe_unused]] const Status stopped = co_await stopping;
  if (!read.ok()) co_return read;
  merge_bits(found, *bitmap, geometry_.size_bytes);
  co_return kOk;
}

Task Qcow2Target::read_bitmap(Request& request, Target& disk, ControlCall& call, Bitmap& found) {
  const std::string source = call.verb.text(kBitmapSource);
  const std::string context = std::string(kBitmapContext) + source;
  const uint64_t size = disk.geometry().size_bytes;
  StatusContexts* const contexts = disk.status_contexts();
  const auto offered = contexts == nullptr ? std::vector<std::string>() : contexts->contexts();
  if (contexts == nullptr || std::ranges::find(offered, context) == offered.end()) {
    co_return call.fail(ENOENT,
                        fmt::format("{} has no consistent bitmap {}", disk.name(), shown(source)));
  }
  if (size != geometry_.size_bytes) {
    co_return call.fail(EINVAL, fmt::format("bitmaps of disks of different sizes cannot be merged:"
                                            " {} and {} bytes",
                                            uint64_t{geometry_.size_bytes}, size));
  }
  for (uint64_t done = 0; done < size;) {
    StatusRuns runs(size - done);
    Request asking = plain(request, Op::read, done, size - done);
    Task finding = contexts->context_status(asking, context, runs);
    if (const Status status = co_await finding; !status.ok()) {
      co_return call.fail(status.error(), fmt::format("cannot read the bitmap {}", shown(source)));
    }
    for (const StatusRun& each : runs.list()) {
      if ((each.flags & kBitmapDirty) != 0) found.mark(done, each.length);
      done += each.length;
    }
  }
  co_return kOk;
}

Status Qcow2Target::explain_bitmaps(ControlCall& call, std::string_view what, Status status) {
  const std::string& why = image_.bitmap_store().why();
  return call.fail(
      status.error(),
      fmt::format("{}: {}", what,
                  why.empty() ? std::generic_category().message(status.error()) : why));
}

}  // namespace sluice::qcow2
