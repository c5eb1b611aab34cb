#include "image/metadata_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "spec/shown.hpp"

namespace sluice::image {

using persistent::kBlockBytes;

Result<void> MetadataWriter::check_blocks(const OpenDisk& disk) {
  if (disk.block_bytes() <= kBlockBytes) return {};
  return fail(EINVAL, fmt::format("{} has blocks of {} bytes, and metadata needs {} or less",
                                  shown(disk.name()), disk.block_bytes(), kBlockBytes));
}

Result<void> MetadataWriter::erase_superblock() {
  constexpr std::array<std::byte, kBlockBytes> kZeroes{};
  return write_superblock(kZeroes);
}

Result<void> MetadataWriter::write(uint64_t number, persistent::ConstBlock block) {
  if (length_ == kRunBlocks || (length_ != 0 && number != first_ + length_)) {
    if (auto written = write_run(); !written) return written;
  }
  if (length_ == 0) first_ = number;
  const auto place = run_.bytes().subspan(length_ * kBlockBytes);
  std::ranges::copy(block, place.begin());
  ++length_;
  reader_.forget(number);
  return {};
}

Result<void> MetadataWriter::flush() {
  if (auto written = write_run(); !written) return written;
  const Status status = disk_.flush();
  if (!status.ok()) return std::unexpected(disk_.explain("flush", 0, status));
  return {};
}

Result<void> MetadataWriter::write_superblock(persistent::ConstBlock block) {
  if (holds_) return {};
  if (auto written = write(0, block); !written) return written;
  return flush();
}

Result<void> MetadataWriter::write_run() {
  if (length_ == 0) return {};
  const uint64_t offset = first_ * kBlockBytes;
  const Status status = disk_.write(offset, run_.bytes().first(length_ * kBlockBytes));
  length_ = 0;
  if (!status.ok()) return std::unexpected(disk_.explain("write", offset, status));
  return {};
}

}  // namespace sluice::image
