// The steps of repair_image(), each of which is durable when it returns.
#pragma once

#include "core/error.hpp"
#include "target/qcow2/offline/check.hpp"

namespace sluice::qcow2 {

enum class Correction : uint8_t { raise, lower };

// Writes the refcounts that are too low, or those that are too high, where they are.
Result<void> correct_refcounts(int descriptor, const Check& check, Correction which);

// Frees the clusters that `before` has referenced, and that nothing references any more: gives
// their space back, then lowers their refcounts. Nothing if the image cannot be read as a whole.
Result<void> free_unreferenced(int descriptor, const Check& before);

// Writes a new refcount table with new blocks behind all clusters in use, of the width that
// `check.header` has, and makes the header refer to it. Only if the check is complete.
Result<void> rebuild_refcounts(int descriptor, Check& check);

// Corrects the flags COPIED of the active tables. Not those of clusters whose refcounts are too
// low, unless `all`.
Result<void> correct_flags(int descriptor, const Check& check, bool all);

}  // namespace sluice::qcow2
