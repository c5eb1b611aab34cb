// FileIo: READ, WRITE, FSYNC and FALLOCATE of the file, on the stack.
//
// Programs may read and write any byte of a file, a stack only whole blocks: a write that does not
// begin and end at block boundaries reads the blocks at its edges first. Such a write has its
// blocks for itself; all others share theirs, so that it never puts old bytes back over their new
// ones.
//
// Owned by the export, used by the threads of all its queues.
#pragma once

#include <cstdint>

#include "core/task.hpp"
#include "frontend/fuse/one_file.hpp"
#include "frontend/fuse/tag.hpp"
#include "frontend/queue_counters.hpp"
#include "ring/range_lock.hpp"
#include "target/stack.hpp"

namespace sluice::fuse {

class FileIo {
 public:
  FileIo(Stack& stack, OneFile& file, uint32_t max_io_bytes);

  // Serves tag.call, whatever it is, and sets tag.answer. `request` is the tag's.
  Task serve(Request& request, Tag& tag);
  // Once that is done: counts it and empties the arena.
  void conclude(Tag& tag, QueueCounters& counters) const;

  OneFile& file() { return file_; }

 private:
  // A range of bytes and the whole blocks that it lies in.
  struct Cover {
    uint64_t begin = 0;
    uint64_t length = 0;
    uint32_t lead = 0;   // bytes of the first block before the range
    uint32_t trail = 0;  // bytes of the last block behind it
    bool aligned() const { return lead == 0 && trail == 0; }
  };

  // Whether a transfer is all that is left of a request: then it may be answered by link.
  enum class Ends : uint8_t { request, part };

  Task read(Request& request, Tag& tag);
  Task write(Request& request, Tag& tag);
  Task allocate(Request& request, Tag& tag);
  Task zero_bytes(Request& request, Tag& tag, uint64_t offset, uint64_t length);
  Task write_bytes(Request& request, Tag& tag, uint64_t offset, uint32_t length, Ends ends);
  Task complete_edges(Request& request, Tag& tag, const Cover& cover, uint32_t length);
  Task copy_slot(Request& request, Tag& tag);
  Task transfer(Request& request, Tag& tag, uint64_t offset, std::span<std::byte> memory,
                Ends ends = Ends::part);

  bool may_pipe(const Request& request, const Tag& tag, Ends ends) const;
  Status pull_data(Tag& tag) const;
  bool may_lend_slot(const Request& request, const Tag& tag) const;
  static bool falls_back(Tag& tag, Status status);
  Status plan_read(Request& request, const Tag& tag) const;
  Status plan_write(Request& request, const Tag& tag) const;
  Status plan_allocate(Request& request, const Tag& tag) const;
  Cover cover(uint64_t offset, uint64_t length) const;

  Stack& stack_;
  OneFile& file_;
  const uint32_t max_io_bytes_;
  const uint32_t block_bytes_;
  RangeLock lock_;
};

}  // namespace sluice::fuse
