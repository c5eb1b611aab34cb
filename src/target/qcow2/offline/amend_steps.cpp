#include "target/qcow2/offline/amend_steps.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "core/big_endian.hpp"
#include "core/step.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair_steps.hpp"

namespace sluice::qcow2 {
namespace {

bool is_zero_entry(uint64_t entry) {
  return (entry & kCompressed) == 0 && (entry & kZeroFlag) != 0;
}

// Whether a table has entries for zeroes.
Result<bool> has_zero_entries(int descriptor, const Check& check) {
  for (const auto& [offset, use] : check.l2_tables) {
    const auto bytes = read_image(descriptor, offset, check.header.cluster_bytes());
    if (!bytes) return std::unexpected(bytes.error());
    for (size_t place = 0; place < bytes->size(); place += 8) {
      if (is_zero_entry(load_big_endian<uint64_t>(*bytes, place))) return true;
    }
  }
  return false;
}

}  // namespace

Result<void> check_downgrade(int descriptor, const Check& check) {
  const Header& header = check.header;
  const auto refuse = [](std::string_view what) {
    return fail(EOPNOTSUPP, fmt::format("compat=0.10 has no {}", what));
  };
  if (header.has(kExternalData)) return refuse("external data files");
  if (header.has(kCompressionType)) return refuse("compression_type");
  if (header.has(kExtendedL2)) return refuse("extended_l2");
  if (has_valid_bitmaps(header)) {
    return refuse("dirty bitmaps: remove them with sluice bitmap --remove");
  }
  const auto snapshots = read_snapshots(descriptor, header, check.file_bytes);
  if (!snapshots) return std::unexpected(snapshots.error());
  for (const Snapshot& each : snapshots->snapshots) {
    if (each.disk_bytes == header.size_bytes && each.vm_state_bytes <= UINT32_MAX) continue;
    return refuse(
        fmt::format("snapshots with a size of their own, as {} has: delete it", shown(each.name)));
  }
  if (header.backing_name.empty()) return {};
  const auto has_zeroes = has_zero_entries(descriptor, check);
  if (!has_zeroes) return std::unexpected(has_zeroes.error());
  if (!*has_zeroes) return {};
  return refuse(
      "zero clusters, and this image has some in front of its backing file: make a new"
      " image with sluice convert");
}

// Programs rely on the size of the disk in each snapshot.
Result<void> check_upgrade(int descriptor, const Check& check) {
  const auto snapshots = read_snapshots(descriptor, check.header, check.file_bytes);
  if (!snapshots) return std::unexpected(snapshots.error());
  for (const Snapshot& each : snapshots->snapshots) {
    if (each.extra_data.size() >= 16) continue;
    return fail(EOPNOTSUPP,
                fmt::format("snapshot {} does not record the size of the disk, which compat=1.1"
                            " needs: delete it",
                            shown(each.name)));
  }
  return {};
}

Result<void> remove_zero_entries(int descriptor) {
  const auto check = check_image(descriptor);
  if (!check) return std::unexpected(check.error());
  if (!check->complete) return fail(EIO, "its tables cannot be read");
  for (const auto& [offset, use] : check->l2_tables) {
    auto bytes = read_image(descriptor, offset, check->header.cluster_bytes());
    if (!bytes) return std::unexpected(bytes.error());
    bool has_changed = false;
    for (size_t place = 0; place < bytes->size(); place += 8) {
      if (!is_zero_entry(load_big_endian<uint64_t>(*bytes, place))) continue;
      store_big_endian(std::span(*bytes), place, uint64_t{0});
      has_changed = true;
    }
    if (!has_changed) continue;
    if (auto done = write_image(descriptor, offset, *bytes); !done) return done;
    step("amend: a table");
  }
  if (auto synced = sync_image(descriptor); !synced) return synced;
  return free_unreferenced(descriptor, *check);
}

}  // namespace sluice::qcow2
