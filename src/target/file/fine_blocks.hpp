// FineBlocks: serves small blocks from a child with larger ones: for instance 512 bytes if direct
// I/O of a file, or its disk, requires 4096.
//
// Requests for whole blocks of the child are forwarded. A request for a part of a block goes
// through a desk, a buffer of one block, and a write reads the block first. Such a write locks its
// block exclusively, other requests lock theirs shared, so that it never overwrites new bytes with
// old ones. The desks are allocated at the start; requests wait for one.
//
// In a power cut each block of the child has its old or its new content, if the child guarantees
// that; clients that write whole physical blocks rely on it. Every queue's thread calls it.
#pragma once

#include <memory>

#include "core/buffer.hpp"
#include "ring/range_lock.hpp"
#include "target/target.hpp"

namespace sluice {

class FineBlocks final : public Target {
 public:
  struct Shape {
    uint32_t block_bytes = 512;
    uint64_t begin_bytes = 0;  // in the child: a multiple of block_bytes
    uint64_t size_bytes = 0;   // likewise
    bool whole = false;        // up to the end of the child, also after growth
  };

  FineBlocks(std::unique_ptr<Target> coarse, const Shape& shape);

 private:
  // A part of a request, at an offset in the child: whole blocks, or a part of one block.
  struct Piece {
    uint64_t place;
    uint64_t length;
    bool whole;
  };

  Task do_submit(Request& request) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;

  Task serve_pieces(Request& request);
  Task serve_blocks(Request& request);
  Task serve_at_desk(Request& request);
  Task read_at_desk(Request& request);
  Task change_at_desk(Request& request);
  Task load(Request& request, uint64_t block, std::span<std::byte> desk);
  Task store(Request& request, uint64_t block, std::span<std::byte> desk);

  Piece first_piece(uint64_t place, uint64_t length) const;
  bool fits_memory(const Request& request) const;
  std::span<std::byte> desk(uint64_t index) const;

  const uint64_t coarse_bytes_;  // the child's block
  const uint64_t begin_;
  const bool whole_;
  RangeLock blocks_;     // of the child
  RangeLock desks_;      // by index
  const Buffer memory_;  // of the desks, one block each
};

}  // namespace sluice
