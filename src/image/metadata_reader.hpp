// MetadataReader: reads the metadata of a thin pool from an open disk, in pieces with many blocks,
// which it keeps.
//
// Blocks; used by one thread. Of metadata that changes meanwhile it may return an older state.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/buffer.hpp"
#include "image/open_disk.hpp"
#include "persistent/block_reader.hpp"

namespace sluice::image {

class MetadataReader final : public persistent::BlockReader {
 public:
  // The disk outlives it. Its blocks are at most kPieceBlocks metadata blocks, as all disks' are.
  explicit MetadataReader(OpenDisk& disk) : disk_(disk), pieces_(kPieces) {}

  uint64_t blocks() const override { return disk_.size_bytes() / persistent::kBlockBytes; }
  Result<void> read(uint64_t number, persistent::Block block) override;
  // The block is written.
  void forget(uint64_t number) {
    const uint64_t piece = number / kPieceBlocks;
    if (pieces_[piece % kPieces].number == piece) pieces_[piece % kPieces].number.reset();
  }

 private:
  static constexpr uint64_t kPieceBlocks = 32;
  static constexpr size_t kPieces = 512;  // 64 MiB

  struct Piece {
    std::optional<uint64_t> number = std::nullopt;
    Buffer memory{0};  // of kPieceBlocks, once it is used
  };

  bool fill(Piece& piece, uint64_t number);
  Result<void> read_alone(uint64_t number, persistent::Block block);

  OpenDisk& disk_;
  std::vector<Piece> pieces_;  // by their numbers modulo kPieces
};

}  // namespace sluice::image
