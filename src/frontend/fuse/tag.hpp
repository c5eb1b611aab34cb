// Tag: a tag (reactor/tag.hpp) with a buffer, a call and its answer. TagMemory: the buffers of all
// tags, for queues in which each tag has a permanent buffer.
//
// A tag's buffer is
//
//   | one page: headers | max_io bytes: data, page aligned | slack | two pages: edges |
//
// or as much of each part as its request needs (FileIo::room_for()). The data is aligned for direct
// I/O. The header page ends where the data begins: a WRITE that is read from /dev/fuse in one piece
// has its data there. The slack takes the bytes that complete the data to whole blocks; the edges
// are the blocks that are read for that. Used by the queue's thread; only the loan may be returned
// on another thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/pipe.hpp"
#include "frontend/fuse/call.hpp"
#include "reactor/byte_io.hpp"
#include "reactor/tag.hpp"

namespace sluice::fuse {

inline constexpr uint32_t kBlockBytesMax = ByteIo::kBlockBytesMax;

class TagMemory {
 public:
  static constexpr uint32_t kHeaderBytes = 4096;

  TagMemory() = default;
  TagMemory(const TagMemory&) = delete;
  TagMemory& operator=(const TagMemory&) = delete;
  ~TagMemory();

  // Reserves only address space: pages are allocated on use.
  Result<void> reserve(uint32_t tags, uint32_t max_io_bytes);
  // The same as a file in memory, so that the kernel can copy between it and pages that have no
  // address here.
  Result<void> reserve_file(uint32_t tags, uint32_t max_io_bytes);
  // Allocates all pages now, unless their data exceeds the reserve; see keep_within().
  std::string keep(uint64_t reserve_bytes);

  std::byte* data_of(uint32_t tag) const { return memory_ + size_t{tag} * stride_ + kHeaderBytes; }
  uint32_t edges_offset() const { return edges_offset_; }
  // The file of reserve_file(), and the position of a tag's data in it.
  File file() const { return {.number = file_.number()}; }
  uint64_t position_of(uint32_t tag) const { return tag * stride_ + kHeaderBytes; }

 private:
  void plan(uint32_t tags, uint32_t max_io_bytes);
  Result<void> map(int flags);

  Descriptor file_;
  std::byte* memory_ = nullptr;
  size_t stride_ = 0;
  size_t bytes_ = 0;
  uint64_t data_bytes_ = 0;
  uint32_t edges_offset_ = 0;
};

struct Tag;

// A queue that can let the kernel send the answer as soon as the one operation that serves a
// request has moved all its bytes.
class EarlyAnswerer {
 public:
  // Offers tag.answer as the tag's linked command.
  virtual void offer_answer(Tag& tag) = 0;

 protected:
  ~EarlyAnswerer() = default;
};

struct Tag final : sluice::Tag {
  static constexpr uint32_t kApartBytes =
      512;  // before the data, and before the headers that are read there

  void use(const TagMemory& memory, uint16_t number);
  // The place of the answer's body; a header fits in front of it.
  std::byte* answer_body() const { return answer.apart ? data - kApartBytes : data; }
  fuse_out_header answer_header() const;
  // Writes the header in front of the body, and returns both as one piece.
  std::span<const std::byte> write_answer() const;

  std::byte* data = nullptr;  // max_io bytes and the slack
  std::byte* edges = nullptr;
  Call call;
  Answer answer;
  EarlyAnswerer* answerer = nullptr;  // null: none
  // On the data path splice: the pipe that receives requests, and whether a WRITE's data is in it.
  Pipe* pipe = nullptr;
  bool data_in_pipe = false;
  // On the data path uring_zc: the slot of the ring's buffer table with the pages of this request,
  // and whether they are lent. If not, their bytes go through `data`, which is in `data_file`.
  int slot = Loan::kNoSlot;
  bool lends_slot = false;
  File data_file;
  uint64_t data_position = 0;
};

}  // namespace sluice::fuse
