// Tag: what belongs to one request slot of a queue for as long as the queue lives: its buffer, its
// loan, its arena. TagMemory: the buffers of all tags of a queue.
//
// A tag's buffer is
//
//   | one page: headers | max_io bytes: data, page aligned | slack | two pages: edges |
//
// so that the data of a request lies right for direct I/O. The header page ends where the data
// begins: what is read from /dev/fuse as one piece puts a WRITE's data there. The slack takes what
// completes data to whole blocks, the edges are the blocks that are read for that. Used by the
// queue's thread; only the loan may come back on another one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/arena.hpp"
#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/pipe.hpp"
#include "core/request.hpp"
#include "frontend/fuse/call.hpp"
#include "frontend/in_flight.hpp"
#include "frontend/tag_loan.hpp"
#include "ring/follower.hpp"
#include "ring/ring.hpp"

namespace sluice::fuse {

inline constexpr uint32_t kBlockBytesMax = 4096;

class TagMemory {
 public:
  static constexpr uint32_t kHeaderBytes = 4096;

  TagMemory() = default;
  TagMemory(const TagMemory&) = delete;
  TagMemory& operator=(const TagMemory&) = delete;
  ~TagMemory();

  // Only address space: pages come when a request needs them.
  Result<void> reserve(uint32_t tags, uint32_t max_io_bytes);
  // Likewise, as a file in memory: then the kernel can copy between it and pages that have no
  // address here.
  Result<void> reserve_file(uint32_t tags, uint32_t max_io_bytes);

  std::byte* data_of(uint32_t tag) const { return memory_ + size_t{tag} * stride_ + kHeaderBytes; }
  uint32_t edges_offset() const { return edges_offset_; }
  // The file, if it is one, and where in it the data of a tag is.
  File file() const { return {.number = file_.number()}; }
  uint64_t position_of(uint32_t tag) const { return tag * stride_ + kHeaderBytes; }

 private:
  void plan(uint32_t tags, uint32_t max_io_bytes);
  Result<void> map(int flags);

  Descriptor file_;
  std::byte* memory_ = nullptr;
  size_t stride_ = 0;
  size_t bytes_ = 0;
  uint32_t edges_offset_ = 0;
};

struct Tag;

// A queue that can let the kernel answer by itself, as soon as the one operation that serves a
// request has moved all its bytes.
class EarlyAnswerer {
 public:
  // Offers tag.answer to the tag's follower.
  virtual void offer_answer(Tag& tag) = 0;

 protected:
  ~EarlyAnswerer() = default;
};

struct Tag {
  static constexpr uint32_t kApartBytes =
      512;  // before the data: beyond what is read in front of it

  void set_up(Ring& ring, const TagMemory& memory, uint16_t queue, uint16_t number);
  // Lends bytes of the buffer; loan.back() waits for the last user.
  View lend(Direction direction, std::span<std::byte> bytes);
  // Lends pages in pipes: those of a WRITE, or those that are to come for a READ.
  View lend_piped(Direction direction, uint32_t length);
  // Lends the pages that are in `slot`.
  View lend_slot(Direction direction, uint32_t length);
  // Adds what it is serving, if it is, as tag `number`.
  void list_in_flight(uint16_t number, std::vector<InFlight>& found) const;
  // Where the body of the answer lies; a header fits in front of it.
  std::byte* answer_body() const { return answer.apart ? data - kApartBytes : data; }

  std::byte* data = nullptr;  // max_io bytes and the slack
  std::byte* edges = nullptr;
  TagLoan loan;
  Request request;
  Arena arena;
  Call call;
  Answer answer;
  EarlyAnswerer* answerer = nullptr;  // or nobody
  Follower follower;
  // On the data path splice: where requests come in, and whether a WRITE's data is still there.
  Pipe* pipe = nullptr;
  bool data_in_pipe = false;
  // On the data path uring_zc: where in the ring's buffer table the pages of this request are, and
  // whether they are lent. If not, their bytes go through `data`, which is in that file.
  int slot = Loan::kNoSlot;
  bool lends_slot = false;
  File data_file;
  uint64_t data_position = 0;
  uint64_t overflows_counted = 0;
  uint64_t begun = 0;  // see QueueCounters; 0 between requests
};

}  // namespace sluice::fuse
