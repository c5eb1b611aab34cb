// MetadataWriter: writes the commits of a pool that nobody serves to an open disk, neighbouring
// blocks as one.
//
// Blocks; used by one thread. Nothing is written to the data device meanwhile.
#pragma once

#include <cstdint>

#include "core/buffer.hpp"
#include "image/metadata_reader.hpp"
#include "image/open_disk.hpp"
#include "persistent/block_writer.hpp"

namespace sluice::image {

class MetadataWriter final : public persistent::BlockWriter {
 public:
  // Both outlive it, and the reader forgets what is written. The disk has whole metadata blocks
  // (check_blocks()).
  MetadataWriter(OpenDisk& disk, MetadataReader& reader)
      : disk_(disk), reader_(reader), run_(kRunBlocks * persistent::kBlockBytes) {}

  // EINVAL: metadata cannot be written to a disk with such blocks.
  static Result<void> check_blocks(const OpenDisk& disk);
  // Takes away the superblock, durably: what is there is no pool until the next one is written.
  Result<void> erase_superblock();
  // The superblocks of commits are not written: for a pool that is made in several.
  void hold_superblock(bool held) { holds_ = held; }

  Result<void> flush_data() override { return {}; }
  Result<void> write(uint64_t number, persistent::ConstBlock block) override;
  Result<void> flush() override;
  Result<void> write_superblock(persistent::ConstBlock block) override;

 private:
  static constexpr size_t kRunBlocks = 64;

  Result<void> write_run();

  OpenDisk& disk_;
  MetadataReader& reader_;
  Buffer run_;          // blocks that are not written yet
  uint64_t first_ = 0;  // the number of the first
  size_t length_ = 0;   // and how many
  bool holds_ = false;
};

}  // namespace sluice::image
