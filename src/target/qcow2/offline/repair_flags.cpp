#include <algorithm>

#include "core/big_endian.hpp"
#include "core/step.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair_steps.hpp"

namespace sluice::qcow2 {
namespace {

struct CopiedFlags {
  const Check& check;
  bool all;

  // The entry with the right flag; the same entry if that is not known.
  uint64_t corrected(uint64_t entry, uint64_t host_offset) const;
  uint64_t corrected_l2(uint64_t entry) const;
  bool is_alone(uint64_t offset) const;
};

Result<void> correct_l2_flags(int descriptor, const CopiedFlags& flags, uint64_t offset);
Result<void> write_changed_entry(int descriptor, uint64_t place, uint64_t entry,
                                 uint64_t corrected);

}  // namespace

// Tables whose clusters have other users stay as they are: writing there could destroy more.
Result<void> correct_flags(int descriptor, const Check& check, bool all) {
  const CopiedFlags flags{.check = check, .all = all};
  for (const auto& [offset, use] : check.l2_tables) {
    if (use.active == 0 || !flags.is_alone(offset)) continue;
    if (auto done = correct_l2_flags(descriptor, flags, offset); !done) return done;
  }
  for (uint64_t i = 0; i < check.active_l1.size(); ++i) {
    const uint64_t entry = check.active_l1[i];
    const uint64_t place = check.header.l1_offset + i * 8;
    if ((entry & kOffsetMask) == 0 || !flags.is_alone(place)) continue;
    const uint64_t corrected = flags.corrected(entry, entry & kOffsetMask);
    if (auto done = write_changed_entry(descriptor, place, entry, corrected); !done) return done;
  }
  return sync_image(descriptor);
}

namespace {

Result<void> correct_l2_flags(int descriptor, const CopiedFlags& flags, uint64_t offset) {
  const auto bytes = read_image(descriptor, offset, flags.check.header.cluster_bytes());
  if (!bytes) return std::unexpected(bytes.error());
  for (size_t place = 0; place < bytes->size(); place += flags.check.header.l2_entry_bytes()) {
    const auto entry = load_big_endian<uint64_t>(*bytes, place);
    const uint64_t corrected = flags.corrected_l2(entry);
    if (auto done = write_changed_entry(descriptor, offset + place, entry, corrected); !done)
      return done;
  }
  return {};
}

Result<void> write_changed_entry(int descriptor, uint64_t place, uint64_t entry,
                                 uint64_t corrected) {
  if (entry == corrected) return {};
  std::array<std::byte, 8> bytes;
  store_big_endian(bytes, 0, corrected);
  auto done = write_image(descriptor, place, bytes);
  step("repair: a flag");
  return done;
}

uint64_t CopiedFlags::corrected_l2(uint64_t entry) const {
  const L2Entry read{.entry = entry};
  if (read.is_compressed()) return entry & ~kCopied;
  if (read.host_offset() == 0) return entry;
  if (check.header.has(kExternalData)) return entry | kCopied;
  return corrected(entry, read.host_offset());
}

// A cluster beyond the end of the file has no references.
uint64_t CopiedFlags::corrected(uint64_t entry, uint64_t host_offset) const {
  const ClusterReferences found = check.references.at(host_offset >> check.header.cluster_bits);
  if (found.too_low && !all) return entry;
  if (found.count != 1) return entry & ~kCopied;
  return check.complete ? entry | kCopied : entry;
}

bool CopiedFlags::is_alone(uint64_t offset) const {
  return !check.references.at(offset >> check.header.cluster_bits).overlaps();
}

}  // namespace
}  // namespace sluice::qcow2
