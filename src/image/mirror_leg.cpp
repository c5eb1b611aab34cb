#include "image/mirror_leg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/buffer.hpp"
#include "spec/shown.hpp"
#include "target/mirror/write_intent_format.hpp"

namespace sluice::image {
namespace {

using mirror::LegRecord;
using mirror::Placement;

// Of one placement: the copies as they are on the disk.
struct Superblocks {
  explicit Superblocks(const SuperblockFormat& the_format)
      : format(the_format), memory(size_t{2} * the_format.copy_bytes) {}

  std::span<std::byte> bytes(size_t index) const {
    return memory.bytes().subspan(index * format.copy_bytes, format.copy_bytes);
  }
  // True if a copy has the magic, whatever follows.
  bool any() const {
    return std::ranges::any_of(copies, [](const SuperblockCopy& copy) {
      return copy.state == SuperblockCopy::State::valid ||
             copy.state == SuperblockCopy::State::damaged;
    });
  }

  bool unreadable() const {
    return std::ranges::any_of(copies, [](const SuperblockCopy& copy) {
      return copy.state == SuperblockCopy::State::unreadable;
    });
  }

  SuperblockFormat format;
  Buffer memory;
  std::array<SuperblockCopy, 2> copies{};
};

bool has_room(const SuperblockFormat& format, Placement placement, uint64_t bytes) {
  if (placement == Placement::end && bytes < mirror::kSuperblocksBytes) return false;
  return bytes >= format.places[1] + format.copy_bytes;
}

Superblocks read_superblocks(OpenDisk& disk, Placement placement) {
  Superblocks found(mirror::superblock_format(placement, leg_bytes(disk)));
  for (size_t i = 0; i < 2; ++i) {
    found.copies[i].state = SuperblockCopy::State::foreign;
    if (!has_room(found.format, placement, leg_bytes(disk))) continue;
    const Status read = disk.read(found.format.places[i], found.bytes(i));
    found.copies[i] = read.ok() ? read_superblock_copy(found.format, found.bytes(i))
                                : SuperblockCopy{.state = SuperblockCopy::State::unreadable};
  }
  return found;
}

std::unexpected<Error> refuse(const OpenDisk& disk, const Error& why) {
  return fail(why.error, fmt::format("{}: {}", shown(disk.name()), why.text));
}

// Damage or read errors of a bitmap are dirty regions (T3.10).
void count_dirty_regions(OpenDisk& disk, MirrorLeg& leg) {
  const LegRecord& record = leg.record;
  const mirror::IntentLayout layout{record.data_bytes, record.region_bytes};
  const Buffer block(mirror::kIntentBlockBytes);
  std::vector<uint64_t> words(mirror::kIntentWords);
  for (uint64_t index = 0; index < layout.blocks(); ++index) {
    const uint64_t place = record.places.intent_offset + index * mirror::kIntentBlockBytes;
    const bool read = disk.read(place, block.bytes()).ok();
    const auto bytes = read ? std::span<const std::byte>(block.bytes()) : std::span<std::byte>();
    if (!mirror::decode_intent_block(record.array, index, bytes, words)) ++leg.damaged_blocks;
    leg.dirty_regions +=
        mirror::count_dirty(words, layout.regions() - index * mirror::kIntentRegions);
  }
}

Result<MirrorLeg> parse_leg(OpenDisk& disk, const Superblocks& found) {
  const Result<size_t> chosen = choose_superblock(found.format, found.copies);
  if (!chosen) return refuse(disk, chosen.error());
  const SuperblockCopy& copy = found.copies[*chosen];
  auto record = mirror::parse(copy.payload, leg_bytes(disk));
  if (!record) return refuse(disk, record.error());
  MirrorLeg leg{
      .record = std::move(*record), .leg_bytes = leg_bytes(disk), .writes = copy.generation};
  const size_t other = 1 - *chosen;
  if (found.copies[other].state != SuperblockCopy::State::valid) {
    leg.remark = describe_superblock_copy(found.format, other, found.copies[other]);
  }
  return leg;
}

Result<void> write_bitmap(OpenDisk& disk, const LegRecord& record, bool dirty) {
  const mirror::IntentLayout layout{record.data_bytes, record.region_bytes};
  constexpr uint64_t kBlocksAtOnce = 64;
  const Buffer memory(kBlocksAtOnce * mirror::kIntentBlockBytes);
  const std::vector<uint64_t> words(mirror::kIntentWords, dirty ? ~uint64_t{0} : 0);
  for (uint64_t first = 0; first < layout.blocks(); first += kBlocksAtOnce) {
    const uint64_t count = std::min(kBlocksAtOnce, layout.blocks() - first);
    for (uint64_t i = 0; i < count; ++i) {
      encode_intent_block(
          record.array, first + i, words,
          memory.bytes().subspan(i * mirror::kIntentBlockBytes, mirror::kIntentBlockBytes));
    }
    const uint64_t place = record.places.intent_offset + first * mirror::kIntentBlockBytes;
    const Status written =
        disk.write(place, memory.bytes().first(count * mirror::kIntentBlockBytes));
    if (!written.ok()) return std::unexpected(disk.explain("write", place, written));
  }
  return {};
}

Result<void> flush(OpenDisk& disk) {
  const Status flushed = disk.flush();
  if (flushed.ok()) return {};
  return std::unexpected(disk.explain("flush", 0, flushed));
}

Result<bool> erase_superblocks(OpenDisk& disk, Placement placement) {
  const Superblocks found = read_superblocks(disk, placement);
  if (!found.any()) return false;
  std::ranges::fill(found.memory.bytes(), std::byte{0});
  for (size_t i = 0; i < 2; ++i) {
    if (found.copies[i].state == SuperblockCopy::State::foreign) continue;
    const Status written = disk.write(found.format.places[i], found.bytes(i));
    if (!written.ok()) {
      return std::unexpected(disk.explain("write", found.format.places[i], written));
    }
  }
  return true;
}

}  // namespace

uint64_t MirrorLeg::regions() const {
  return mirror::IntentLayout{record.data_bytes, record.region_bytes}.regions();
}

uint64_t leg_bytes(const OpenDisk& disk) { return disk.geometry().size_bytes; }

// What is at the end counts if it was made for a disk of this size.
Result<std::optional<MirrorLeg>> read_mirror_leg(OpenDisk& disk) {
  const Superblocks at_end = read_superblocks(disk, Placement::end);
  const Superblocks at_start = read_superblocks(disk, Placement::start);
  if (!at_end.any() && !at_start.any()) {
    if (!at_end.unreadable() && !at_start.unreadable()) return std::nullopt;
    return refuse(disk, {EIO, "the places of superblocks cannot be read"});
  }
  Result<MirrorLeg> leg = parse_leg(disk, at_end.any() ? at_end : at_start);
  if (!leg && at_end.any() && at_start.any()) leg = parse_leg(disk, at_start);
  if (!leg) return std::unexpected(leg.error());
  count_dirty_regions(disk, *leg);
  return std::move(*leg);
}

Result<void> write_mirror_leg(OpenDisk& disk, const LegRecord& record, bool dirty) {
  if (const auto erased = erase_mirror_leg(disk); !erased) return std::unexpected(erased.error());
  if (auto written = write_bitmap(disk, record, dirty); !written) return written;
  if (auto flushed = flush(disk); !flushed) return flushed;
  return write_mirror_superblock(disk, record);
}

Result<void> mark_mirror_leg(OpenDisk& disk, const LegRecord& record) {
  if (auto written = write_bitmap(disk, record, true); !written) return written;
  return flush(disk);
}

Result<void> write_mirror_superblock(OpenDisk& disk, const LegRecord& record) {
  const SuperblockFormat format =
      mirror::superblock_format(record.places.placement, leg_bytes(disk));
  std::array<std::byte, mirror::kRecordBytes> payload;
  mirror::encode(record, payload);
  const Superblocks found = read_superblocks(disk, record.places.placement);
  uint64_t generation = 0;
  for (const SuperblockCopy& copy : found.copies)
    generation = std::max(generation, copy.generation);
  std::array<uint64_t, 2> places = format.places;
  if (found.copies[0].generation > found.copies[1].generation) std::ranges::reverse(places);
  const Buffer copy(format.copy_bytes);
  for (const uint64_t place : places) {
    make_superblock_copy(format, format.version, ++generation, payload, copy.bytes());
    const Status written = disk.write(place, copy.bytes());
    if (!written.ok()) return std::unexpected(disk.explain("write", place, written));
    if (auto flushed = flush(disk); !flushed) return flushed;
  }
  return {};
}

Result<bool> erase_mirror_leg(OpenDisk& disk) {
  bool any = false;
  for (const Placement placement : {Placement::start, Placement::end}) {
    const auto erased = erase_superblocks(disk, placement);
    if (!erased) return erased;
    any = any || *erased;
  }
  if (any) {
    if (auto flushed = flush(disk); !flushed) return std::unexpected(flushed.error());
  }
  return any;
}

}  // namespace sluice::image
