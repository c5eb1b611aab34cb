// BitmapStore: the directory, and the header that leads to it.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/big_endian.hpp"
#include "target/qcow2/bitmap/bitmap_store.hpp"
#include "target/qcow2/bitmap/extension_edit.hpp"

namespace sluice::qcow2 {

// In place: a flag is less than a sector.
Task BitmapStore::begin_writing(Request& request, Parts parts) {
  parts_.emplace(parts);
  const uint64_t block = parts.cache_block_bytes;
  uint64_t entry = current_.offset;
  BlockVersion newest;
  for (const auto& each : bitmaps_.all()) {
    const uint64_t flags =
        std::exchange(entry, entry + entry_bytes(each->entry())) + kBitmapFlagsPlace;
    if (each->entry().in_use) continue;
    WritePin pin;
    Task taking = parts.cache.write(request, flags / block, pin);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
    const auto now = load_big_endian<uint32_t>(pin.bytes(), flags % block);
    store_big_endian(pin.bytes(), flags % block, now | kBitmapInUse);
    newest = pin.publish();
    each->set_in_use(true);
  }
  if (newest.slot == nullptr) co_return kOk;
  Task flushing = parts.cache.flush(request);
  co_return co_await flushing;
}

// To a new place, and then the header leads there. Afterwards the old place is used for the next
// one: it may be in the cache, and must not become anything else before the end.
Task BitmapStore::write_directory(Request& request, const std::vector<BitmapEntry>& entries) {
  why_.clear();
  if (unsure_) co_return Status::from_errno(EIO);
  std::vector<std::byte> bytes;
  for (const BitmapEntry& each : entries) append_bitmap(each, bytes);
  std::optional<BitmapsExtension> wanted;
  Room room;
  if (!entries.empty()) {
    Task taking = take_room(request, bytes.size(), room);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
    Task filling = fill_room(request, room, bytes);
    if (const Status filled = co_await filling; !filled.ok()) {
      keep_spare(room);
      co_return filled;
    }
    wanted = {.count = static_cast<uint32_t>(entries.size()),
              .directory_bytes = bytes.size(),
              .directory_offset = room.offset};
  }
  Task switching = switch_to(request, wanted);
  if (const Status switched = co_await switching; !switched.ok()) {
    if (!unsure_) keep_spare(room);
    co_return switched;
  }
  keep_spare(std::exchange(current_, room));
  co_return kOk;
}

void BitmapStore::keep_spare(const Room& room) {
  const Room before = std::exchange(spare_, room);
  parts_->clusters.retire(before.offset, before.clusters);
}

Task BitmapStore::take_room(Request& request, uint64_t bytes, Room& room) {
  if (bytes > kBitmapDirectoryBytesMax) co_return Status::from_errno(EFBIG);
  const uint64_t needed = clusters_of(bytes);
  if (spare_.clusters >= needed) {
    room = std::exchange(spare_, {});
    co_return kOk;
  }
  Allocation place;
  Task allocating = parts_->clusters.allocate_run(request, needed, place);
  if (const Status allocated = co_await allocating; !allocated.ok()) co_return allocated;
  room = {.offset = place.offset, .clusters = place.count};
  co_return kOk;
}

// Durable, with all that it leads to.
Task BitmapStore::fill_room(Request& request, const Room& room, std::span<const std::byte> bytes) {
  MetadataCache& cache = parts_->cache;
  const uint64_t block = parts_->cache_block_bytes;
  for (uint64_t done = 0; done < bytes.size(); done += block) {
    WritePin pin;
    Task taking = cache.write_new(request, (room.offset + done) / block, pin);
    if (const Status taken = co_await taking; !taken.ok()) co_return taken;
    Task ordering = cache.order_after_child(request, pin);
    if (const Status ordered = co_await ordering; !ordered.ok()) co_return ordered;
    std::ranges::copy(bytes.subspan(done, std::min(block, bytes.size() - done)),
                      pin.bytes().begin());
    pin.publish();
  }
  if (cache.failed()) cache.forgive();
  Task flushing = cache.flush(request);
  co_return co_await flushing;
}

Task BitmapStore::switch_to(Request& request, const std::optional<BitmapsExtension>& wanted) {
  std::vector<std::byte> start(parts_->cache_block_bytes);
  {
    ReadPin header;
    Task reading = parts_->cache.read(request, 0, header);
    if (const Status read = co_await reading; !read.ok()) co_return read;
    std::ranges::copy(header.bytes().first(start.size()), start.begin());
  }
  const auto steps = plan_extension(start, wanted);
  if (!steps) {
    why_ = steps.error().text;
    co_return Status::from_errno(steps.error().error);
  }
  if (steps->size() > 1) header_.autoclear &= ~kBitmapsValid;  // as the image says in between
  for (const HeaderStep& each : *steps) {
    Task changing = change_header(request, each.place, each.bytes);
    if (const Status changed = co_await changing; !changed.ok()) co_return changed;
  }
  unsure_ = false;
  header_.bitmaps = wanted;
  header_.autoclear =
      wanted ? header_.autoclear | kBitmapsValid : header_.autoclear & ~kBitmapsValid;
  co_return kOk;
}

// Durable at once. Once it is published, only its end tells what the image has.
Task BitmapStore::change_header(Request& request, size_t place, std::span<const std::byte> bytes) {
  WritePin header;
  Task taking = parts_->cache.write(request, 0, header);
  if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  std::ranges::copy(bytes, header.bytes().subspan(place).begin());
  unsure_ = true;
  const BlockVersion changed = header.publish();
  Task waiting = parts_->cache.make_durable(request, changed);
  co_return co_await waiting;
}

}  // namespace sluice::qcow2
