#include "target/qcow2/offline/shrink.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/big_endian.hpp"
#include "core/step.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair_steps.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kDiskBytesPlace = 24;  // in the header

// What lies behind the new end: whole L2 tables, and the last entries of one that stays.
struct Behind {
  uint64_t first_table = 0;   // in entries of the L1 table
  uint64_t kept_entries = 0;  // of the table before it; 0: all of them
};

Behind find_behind(const Header& header, uint64_t size_bytes);
Result<Check> check_for_shrinking(int descriptor);
Result<Check> with_room(int descriptor, const Check& check);
Result<void> cut_shared_table(int descriptor, Check& check, uint64_t index, uint64_t kept);
Result<void> cut_table(int descriptor, const Check& check, uint64_t table, uint64_t kept);
Result<void> cut_l1(int descriptor, const Check& check, uint64_t first);
Result<void> store_disk_size(int descriptor, const Header& header, uint64_t size_bytes);
Result<void> cut_file(int descriptor);

}  // namespace

Result<void> shrink_image(int descriptor, uint64_t size_bytes) {
  auto check = check_for_shrinking(descriptor);
  if (!check) return std::unexpected(check.error());
  const Behind behind = find_behind(check->header, size_bytes);
  const uint64_t index = behind.first_table - 1;
  const bool cuts = behind.kept_entries != 0 && index < check->active_l1.size();
  const uint64_t entry = cuts ? check->active_l1[index] : 0;
  if ((entry & kOffsetMask) != 0 && (entry & kCopied) != 0) {
    const uint64_t table = entry & kOffsetMask;
    if (auto cut = cut_table(descriptor, *check, table, behind.kept_entries); !cut) return cut;
  } else if ((entry & kOffsetMask) != 0) {
    auto longer = with_room(descriptor, *check);
    if (!longer) return std::unexpected(longer.error());
    check.emplace(std::move(*longer));
    auto cut = cut_shared_table(descriptor, *check, index, behind.kept_entries);
    if (!cut) return cut;
  }
  if (auto cut = cut_l1(descriptor, *check, behind.first_table); !cut) return cut;
  if (auto synced = sync_image(descriptor); !synced) return synced;
  step("shrink: cut");
  auto stored = store_disk_size(descriptor, check->header, size_bytes);
  if (!stored) return stored;
  step("shrink: stored");
  if (auto freed = free_unreferenced(descriptor, *check); !freed) return freed;
  step("shrink: freed");
  return cut_file(descriptor);
}

Result<void> check_may_resize(const Header& header) {
  if (header.version == 2 && header.snapshots != 0) {
    return fail(EOPNOTSUPP,
                "an image of version 2 with snapshots cannot change its size, as these do not"
                " record theirs: delete them, or change it with sluice amend -o compat=1.1");
  }
  if (has_valid_bitmaps(header)) {
    return fail(EOPNOTSUPP,
                fmt::format("its {} dirty bitmaps would no longer fit the disk: remove them with"
                            " sluice bitmap --remove",
                            header.bitmaps->count));
  }
  return {};
}

namespace {

Behind find_behind(const Header& header, uint64_t size_bytes) {
  const uint64_t cluster = header.cluster_bytes();
  const uint64_t clusters = size_bytes / cluster + (size_bytes % cluster != 0 ? 1 : 0);
  return {.first_table = header.l1_entries_needed(size_bytes),
          .kept_entries = clusters % header.l2_entries()};
}

Result<Check> check_for_shrinking(int descriptor) {
  auto check = check_image(descriptor);
  if (!check) return check;
  if (auto may = check_may_resize(check->header); !may) return std::unexpected(may.error());
  if (check->header.has(kExternalData)) {
    return fail(EOPNOTSUPP,
                "its data is in another file, which cannot be shortened together with it");
  }
  const bool is_marked = check->header.has(kDirty) || check->header.has(kCorrupt);
  if (check->result.corruptions != 0 || check->result.check_errors != 0 || is_marked) {
    return fail(EUCLEAN, "it is damaged: repair it first with sluice check --repair all");
  }
  return check;
}

// With one cluster at the end of the file that nobody uses.
Result<Check> with_room(int descriptor, const Check& check) {
  const uint64_t cluster = check.header.cluster_bytes();
  const uint64_t end = (check.file_bytes + cluster - 1) / cluster * cluster + cluster;
  if (ftruncate(descriptor, static_cast<off_t>(end)) != 0) {
    return fail(errno, fmt::format("cannot make it longer: {}", std::strerror(errno)));
  }
  return check_image(descriptor);
}

// A table that a snapshot has as well: the disk gets a copy, on the last cluster of the file. Its
// refcount, its contents, then the entry that leads to it.
Result<void> cut_shared_table(int descriptor, Check& check, uint64_t index, uint64_t kept) {
  const uint64_t cluster = check.header.cluster_bytes();
  const uint64_t place = check.file_bytes - cluster;
  if (!check.references.add(place, cluster, kUseL2)) return fail(EFBIG, "the file is too large");
  const bool has_block =
      check.refcount_blocks.contains((place / cluster) / check.header.refcounts_per_block());
  auto counted = has_block ? correct_refcounts(descriptor, check, Correction::raise)
                           : rebuild_refcounts(descriptor, check);
  if (!counted) return counted;
  const uint64_t old = check.active_l1[index] & kOffsetMask;
  auto table = read_image(descriptor, old, cluster);
  if (!table) return std::unexpected(table.error());
  std::fill(table->begin() + static_cast<ptrdiff_t>(kept * check.header.l2_entry_bytes()),
            table->end(), std::byte{0});
  if (auto done = write_image(descriptor, place, *table); !done) return done;
  if (auto done = sync_image(descriptor); !done) return done;
  step("shrink: copied");
  std::array<std::byte, 8> entry;
  store_big_endian(entry, 0, place | kCopied);
  return write_image(descriptor, check.header.l1_offset + index * 8, entry);
}

Result<void> cut_table(int descriptor, const Check& check, uint64_t table, uint64_t kept) {
  const uint64_t begin = kept * check.header.l2_entry_bytes();
  const std::vector<std::byte> zeroes(check.header.cluster_bytes() - begin);
  return write_image(descriptor, table + begin, zeroes);
}

Result<void> cut_l1(int descriptor, const Check& check, uint64_t first) {
  if (first >= check.active_l1.size()) return {};
  const std::vector<std::byte> zeroes((check.active_l1.size() - first) * 8);
  return write_image(descriptor, check.header.l1_offset + first * 8, zeroes);
}

// What other programs keep up to date only while they know of all writes is outdated now.
Result<void> store_disk_size(int descriptor, const Header& header, uint64_t size_bytes) {
  constexpr size_t kEnd = kFeaturesPlace + 24;
  auto fields = read_image(descriptor, kDiskBytesPlace, kEnd - kDiskBytesPlace);
  if (!fields) return std::unexpected(fields.error());
  store_big_endian(std::span(*fields), 0, size_bytes);
  if (header.version >= 3) {
    store_big_endian(std::span(*fields), kFeaturesPlace + 16 - kDiskBytesPlace,
                     header.autoclear & kRawExternalData);
  }
  if (auto done = write_image(descriptor, kDiskBytesPlace, *fields); !done) return done;
  return sync_image(descriptor);
}

// A block device stays as it is.
Result<void> cut_file(int descriptor) {
  const auto check = check_image(descriptor);
  if (!check) return std::unexpected(check.error());
  const uint64_t end = check->result.image_end_offset;
  if (!check->complete || check->rebuild || check->file_bytes <= end) return {};
  if (ftruncate(descriptor, static_cast<off_t>(end)) != 0) return {};
  return sync_image(descriptor);
}

}  // namespace
}  // namespace sluice::qcow2
