#include "image/chain_data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/buffer.hpp"
#include "core/zero.hpp"
#include "spec/shown.hpp"

namespace sluice::image {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;

Result<void> note(const OpenDisk& disk, std::string_view what, uint64_t offset, Status status) {
  if (status.ok()) return {};
  return std::unexpected(disk.explain(what, offset, status));
}

Result<void> copy_range(OpenDisk& from, OpenDisk& to, uint64_t offset, uint64_t length) {
  const Buffer memory(std::min(length, kChunkBytes));
  for (uint64_t done = 0; done < length;) {
    const auto part = memory.bytes().first(std::min(length - done, kChunkBytes));
    const uint64_t place = offset + done;
    if (auto read = note(from, "read", place, from.read(place, part)); !read) return read;
    if (auto written = note(to, "write", place, to.write(place, part)); !written) return written;
    done += part.size();
  }
  return {};
}

// Behind the end of the disk there are zeroes. Null: everywhere.
Result<void> read_padded(OpenDisk* disk, uint64_t offset, std::span<std::byte> bytes) {
  std::ranges::fill(bytes, std::byte{0});
  const uint64_t size = disk == nullptr ? 0 : disk->size_bytes();
  if (offset >= size) return {};
  const auto there = bytes.first(std::min<uint64_t>(bytes.size(), size - offset));
  return note(*disk, "read", offset, disk->read(offset, there));
}

// One cluster of the image at most.
Result<void> keep_cluster(OpenDisk& disk, OpenDisk* next, uint64_t offset, uint64_t length) {
  const Buffer present(length);
  const Buffer other(length);
  if (auto read = read_padded(&disk, offset, present.bytes()); !read) return read;
  if (auto read = read_padded(next, offset, other.bytes()); !read) return read;
  if (std::memcmp(present.bytes().data(), other.bytes().data(), length) == 0) return {};
  const Status status = is_all_zero(present.bytes()) ? disk.write_zeroes(offset, length)
                                                     : disk.write(offset, present.bytes());
  return note(disk, "write", offset, status);
}

Result<void> keep_range(OpenDisk& disk, OpenDisk* next, uint64_t offset, uint64_t length) {
  const uint64_t cluster = disk.geometry().io_opt_bytes;
  for (uint64_t done = 0; done < length;) {
    const uint64_t place = offset + done;
    const uint64_t part = std::min(length - done, cluster - place % cluster);
    if (auto kept = keep_cluster(disk, next, place, part); !kept) return kept;
    done += part;
  }
  return {};
}

// Calls `take` for each extent of the disk.
template <typename Take>
Result<void> for_each_extent(OpenDisk& disk, const ChainProgress& progress, const Take& take) {
  const uint64_t size = disk.size_bytes();
  for (uint64_t offset = 0; offset < size;) {
    const auto list = disk.extents(offset, size - offset);
    if (!list) return std::unexpected(list.error());
    for (const Extent& each : *list) {
      if (auto taken = take(offset, each); !taken) return taken;
      offset += each.length;
      progress(offset, size);
    }
  }
  return {};
}

Result<void> grow_base(const OpenDisk& overlay, OpenDisk& base) {
  const uint64_t block = base.block_bytes();
  const uint64_t wanted = (overlay.size_bytes() + block - 1) / block * block;
  if (base.size_bytes() >= overlay.size_bytes()) return {};
  const auto grown = base.stack().resize(wanted);
  if (grown) return {};
  return fail(grown.error().error, fmt::format("{} cannot grow to {} bytes: {}", shown(base.name()),
                                               wanted, grown.error().text));
}

}  // namespace

Result<void> commit_data(OpenDisk& overlay, OpenDisk& base, const ChainProgress& progress) {
  if (auto grown = grow_base(overlay, base); !grown) return grown;
  const auto commit = [&](uint64_t offset, const Extent& extent) -> Result<void> {
    if (!extent.allocated_here()) return {};
    if (!extent.zero) return copy_range(overlay, base, offset, extent.length);
    return note(base, "write zeroes to", offset, base.write_zeroes(offset, extent.length));
  };
  if (auto done = for_each_extent(overlay, progress, commit); !done) return done;
  return note(base, "flush", 0, base.flush());
}

Result<void> keep_data(OpenDisk& disk, OpenDisk* next, const ChainProgress& progress) {
  const auto keep = [&](uint64_t offset, const Extent& extent) -> Result<void> {
    if (extent.allocated_here() || (extent.zero && next == nullptr)) return {};
    return keep_range(disk, next, offset, extent.length);
  };
  if (auto done = for_each_extent(disk, progress, keep); !done) return done;
  return note(disk, "flush", 0, disk.flush());
}

}  // namespace sluice::image
