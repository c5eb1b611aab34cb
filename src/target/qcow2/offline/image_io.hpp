// Reads and writes parts of an image by offset, for the tools that work on an image which no target
// serves. Control path only; the functions block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "target/qcow2/header.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace sluice::qcow2 {

// Of a file or a block device, rounded up to 512 bytes.
Result<uint64_t> image_bytes(int descriptor);

// Fills `bytes`. What lies beyond the end of the file reads as zeroes.
Result<void> read_image(int descriptor, uint64_t offset, std::span<std::byte> bytes);
Result<std::vector<std::byte>> read_image(int descriptor, uint64_t offset, uint64_t length);

Result<void> write_image(int descriptor, uint64_t offset, std::span<const std::byte> bytes);

// Makes all that was written durable.
Result<void> sync_image(int descriptor);

// True if the file begins like a qcow2 image.
Result<bool> is_qcow2(int descriptor);

// These read and parse; EINVAL for what is malformed. `file_bytes` is image_bytes().
Result<Header> read_any_header(int descriptor);
// ENOTSUP: also for encrypted images.
Result<Header> read_image_header(int descriptor);
Result<SnapshotTable> read_snapshots(int descriptor, const Header& header, uint64_t file_bytes);
// Empty if the image has no bitmaps, or only such that are void.
Result<std::vector<BitmapEntry>> read_bitmaps(int descriptor, const Header& header,
                                              uint64_t file_bytes);
bool has_valid_bitmaps(const Header& header);

}  // namespace sluice::qcow2
