// How large an image with the contents of a disk will be: the figures of qemu-img measure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "core/error.hpp"
#include "image/open_disk.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace sluice::image {

struct Measure {
  uint64_t required_bytes = 0;         // of the file, for what the disk has now
  uint64_t fully_allocated_bytes = 0;  // once everything has been written
};

// `size_bytes`: of the disk.
Measure measure_raw(uint64_t size_bytes);

// `options`: of the new image, with the size of the disk. `data_bytes`: of its clusters that are
// needed at once. EINVAL: a disk that large cannot have clusters that small.
Result<Measure> measure_qcow2(const qcow2::CreateOptions& options, uint64_t data_bytes);

// The bytes of the clusters in which the disk has data.
Result<uint64_t> count_data(OpenDisk& disk, uint64_t cluster_bytes);

// What the bitmaps of an image of this size need in an image with such clusters. Those that are in
// use, so not consistent, are not copied.
uint64_t measure_bitmaps(std::span<const qcow2::BitmapEntry> bitmaps, uint64_t size_bytes,
                         uint64_t cluster_bytes);

}  // namespace sluice::image
