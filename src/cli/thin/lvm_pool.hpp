// A thin pool of LVM as the slices of physical volumes that its data and metadata lie in, by what
// `lvs` and `pvs` report.
//
// Plain values; whatever the reports contain.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/failure.hpp"
#include "spec/json_value.hpp"
#include "spec/spec.hpp"

namespace sluice::cli {

// What `lvs --segments -o` is asked for, and `pvs -o`; with --units b and --nosuffix.
inline constexpr std::string_view kLvsFields =
    "lv_name,segtype,seg_start,seg_size,stripes,stripe_size,devices,data_lv,metadata_lv,pool_lv,"
    "thin_id,lv_size,chunk_size,transaction_id,vg_extent_size,lv_active";
inline constexpr std::string_view kPvsFields = "pv_name,pe_start";

struct LvmVolume {
  std::string name = {};
  uint64_t id = 0;  // of the thin device
  uint64_t size_bytes = 0;
};

struct LvmPool {
  Spec metadata = {};
  Spec data = {};
  uint64_t block_bytes = 0;
  uint64_t transaction_id = 0;
  std::vector<LvmVolume> volumes = {};
};

// `pool`: its name in the volume group that the reports are of. Fails if there is no such pool, if
// the kernel has it, or if a part of it is more than slices and stripes.
Outcome<LvmPool> find_lvm_pool(const JsonValue& segments, const JsonValue& physical_volumes,
                               const std::string& pool);

}  // namespace sluice::cli
