#include "image/metadata_reader.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "spec/shown.hpp"

namespace sluice::image {

using persistent::kBlockBytes;

Result<void> MetadataReader::read(uint64_t number, persistent::Block block) {
  if (number >= blocks()) {
    return fail(EINVAL, fmt::format("there is no block {}: {} has {}", number, shown(disk_.name()),
                                    blocks()));
  }
  const uint64_t piece_number = number / kPieceBlocks;
  Piece& piece = pieces_[piece_number % kPieces];
  if (piece.number != piece_number && !fill(piece, piece_number)) return read_alone(number, block);
  const auto found = piece.memory.bytes().subspan(number % kPieceBlocks * kBlockBytes);
  std::ranges::copy(found.first<kBlockBytes>(), block.begin());
  return {};
}

bool MetadataReader::fill(Piece& piece, uint64_t number) {
  const uint64_t first = number * kPieceBlocks;
  const uint64_t length = std::min(kPieceBlocks, blocks() - first) * kBlockBytes;
  piece.number.reset();
  if (piece.memory.bytes().empty()) piece.memory = Buffer(kPieceBlocks * kBlockBytes);
  if (!disk_.read(first * kBlockBytes, piece.memory.bytes().first(length)).ok()) return false;
  piece.number = number;
  return true;
}

// A block that the disk cannot read does not take its neighbours with it.
Result<void> MetadataReader::read_alone(uint64_t number, persistent::Block block) {
  const Buffer memory(kBlockBytes);
  const Status status = disk_.read(number * kBlockBytes, memory.bytes());
  if (!status.ok()) return std::unexpected(disk_.explain("read", number * kBlockBytes, status));
  std::ranges::copy(memory.bytes(), block.begin());
  return {};
}

}  // namespace sluice::image
