// The steps of check_image(), each in a file of its own. They add what they find to the `Check`.
#pragma once

#include "target/qcow2/offline/check.hpp"

namespace sluice::qcow2 {

// Counts one reference; a corruption if the range is not in the file, or a refcount overflows.
// False: it is not in the file. `what` begins a sentence, as in "the L1 table".
bool count_references(Check& check, uint64_t offset, uint64_t length, ClusterUse use,
                      uint64_t times, std::string_view what);

// The L1 tables of the disk and of the snapshots, their L2 tables, and the guest's data.
void check_guest_data(int descriptor, Check& check);
// One L2 table; `check_guest_data()` calls it for each.
void check_l2_table(int descriptor, Check& check, uint64_t offset, const L2Use& use);
// The bitmaps, their tables and their directory.
void check_bitmaps(int descriptor, Check& check);
// The refcount table and its blocks; then, when all references are counted, the refcounts.
void check_refcounts(int descriptor, Check& check);

}  // namespace sluice::qcow2
