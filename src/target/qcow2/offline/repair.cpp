#include "target/qcow2/offline/repair.hpp"

#include <algorithm>
#include <array>

#include "core/big_endian.hpp"
#include "core/step.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair_steps.hpp"

namespace sluice::qcow2 {
namespace {

Result<void> repair_found(int descriptor, Repair what, Check& check);
Result<void> clear_damage_bits(int descriptor, const Header& header);
uint64_t how_many_fewer(uint64_t before, uint64_t after) {
  return before > after ? before - after : 0;
}

}  // namespace

// Building refcounts anew makes the file longer. Entries that pointed behind its end may point to
// clusters of the file then, whose refcounts the second turn corrects.
Result<CheckResult> repair_image(int descriptor, Repair what) {
  constexpr int kTurns = 2;
  auto found = check_image(descriptor);
  if (!found) return std::unexpected(found.error());
  const CheckResult before = found->result;
  const Header header = found->header;
  CheckResult after = before;
  for (int turn = 0; turn < kTurns && !after.clean(); ++turn) {
    if (auto repaired = repair_found(descriptor, what, *found); !repaired) {
      return std::unexpected(repaired.error());
    }
    auto again = check_image(descriptor);
    if (!again) return std::unexpected(again.error());
    after = again->result;
    if (!found->rebuild) break;
    found.emplace(std::move(*again));
  }
  after.corruptions_fixed = how_many_fewer(before.corruptions, after.corruptions);
  after.leaks_fixed = how_many_fewer(before.leaks, after.leaks);
  if (after.corruptions == 0 && after.check_errors == 0) {
    step("repair: consistent");
    if (auto cleared = clear_damage_bits(descriptor, header); !cleared) {
      return std::unexpected(cleared.error());
    }
  }
  return after;
}

namespace {

// What remains wrong is reported by the second check.
Result<void> repair_found(int descriptor, Repair what, Check& check) {
  const bool all = what == Repair::all;
  if (check.rebuild && (!all || !check.complete)) return {};
  Result<void> done;
  if (check.rebuild) {
    done = rebuild_refcounts(descriptor, check);
  } else if (all) {
    done = correct_refcounts(descriptor, check, Correction::raise);
  }
  step("repair: raised");
  if (done && (all || check.complete)) done = correct_flags(descriptor, check, all);
  step("repair: flags");
  if (done && !check.rebuild && check.complete) {
    done = correct_refcounts(descriptor, check, Correction::lower);
  }
  step("repair: lowered");
  return done;
}

// The features in the header, one after the other: incompatible, compatible, autoclear. Autoclear
// bits of unknown features are cleared by whoever changes an image.
Result<void> clear_damage_bits(int descriptor, const Header& header) {
  const uint64_t incompatible = header.incompatible & ~(kDirty | kCorrupt);
  if (header.version < 3 || incompatible == header.incompatible) return {};
  std::array<std::byte, 24> features;
  store_big_endian(features, 0, incompatible);
  store_big_endian(features, 8, header.compatible);
  store_big_endian(features, 16, header.autoclear & (kBitmapsValid | kRawExternalData));
  if (auto written = write_image(descriptor, kFeaturesPlace, features); !written) return written;
  return sync_image(descriptor);
}

}  // namespace
}  // namespace sluice::qcow2
