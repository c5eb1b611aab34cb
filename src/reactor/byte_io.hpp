// ByteIo: reads, writes and zeroes any bytes of a disk, which serves only whole blocks.
//
// A write that does not begin and end at block boundaries first reads the blocks at its edges. Such
// a write locks its blocks exclusively, others lock theirs shared, so that it never overwrites new
// bytes with old ones.
//
// The last block of a disk may be a part of one (Geometry::exact_bytes): it counts as whole, and no
// request goes beyond its end.
//
// One for each disk whose clients address bytes, used by the threads of all queues.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/task.hpp"
#include "reactor/tag.hpp"
#include "ring/range_lock.hpp"
#include "target/disk.hpp"

namespace sluice {

class ByteIo {
 public:
  static constexpr uint32_t kBlockBytesMax = 4096;  // of any disk

  // The memory of a request, aligned for direct I/O.
  struct Memory {
    std::byte* data = nullptr;   // room for the blocks that cover the range
    std::byte* edges = nullptr;  // 2 * kBlockBytesMax; not for a range that is_whole()
  };

  // A byte range and the whole blocks that contain it.
  struct Cover {
    uint64_t begin = 0;
    uint64_t length = 0;
    uint32_t lead = 0;   // bytes of the first block before the range
    uint32_t trail = 0;  // bytes of the last block after it
    bool aligned() const { return lead == 0 && trail == 0; }
  };

  // Whether a transfer is the last step of a request, so that its answer may be linked to it.
  enum class Ends : uint8_t { request, part };

  explicit ByteIo(Disk& disk) : disk_(disk), block_bytes_(disk.geometry().logical_block_bytes) {}
  ByteIo(const ByteIo&) = delete;
  ByteIo& operator=(const ByteIo&) = delete;

  // `request` is the tag's: its operation, and its range in bytes, within the disk. Each returns
  // once no memory is lent any more.
  //
  // The range is read to the beginning of the data.
  Task read(Request& request, Tag& tag, Memory memory);
  // Writes `length` bytes from the beginning of the data to any offset.
  Task write(Request& request, Tag& tag, Memory memory, uint64_t offset, uint32_t length,
             Ends ends);
  // Serves write zeroes. The memory has room for two blocks of data.
  Task zero(Request& request, Tag& tag, Memory memory);

  // The end of the last block moves when the disk grows, and a range that was aligned may get
  // edges.
  Cover cover(uint64_t offset, uint64_t length) const;
  // True if that cannot happen.
  bool is_whole(uint64_t offset, uint64_t length) const {
    return ((offset | length) & (block_bytes_ - 1)) == 0;
  }

 protected:
  ~ByteIo() = default;

  // One request of whole blocks, of the operation of `request`.
  virtual Task transfer(Request& request, Tag& tag, uint64_t offset, std::span<std::byte> memory,
                        Ends ends);

  Disk& disk_;

 private:
  Task complete_edges(Request& request, Tag& tag, Memory memory, const Cover& cover,
                      uint32_t length);
  Task zero_bytes(Request& request, Tag& tag, Memory memory, uint64_t offset, uint64_t length);
  uint64_t last_block(const Cover& cover) const;

  const uint32_t block_bytes_;
  RangeLock lock_;
};

}  // namespace sluice
