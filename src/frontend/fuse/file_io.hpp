// FileIo: READ, WRITE, FSYNC and FALLOCATE of the file, on the stack.
//
// Owned by the export, used by the threads of all its queues.
#pragma once

#include <cstdint>

#include "core/task.hpp"
#include "frontend/fuse/one_file.hpp"
#include "frontend/fuse/tag.hpp"
#include "reactor/byte_io.hpp"
#include "target/stack.hpp"

namespace sluice::fuse {

class FileIo final : private ByteIo {
 public:
  FileIo(Stack& stack, OneFile& file, uint32_t max_io_bytes);

  // The part of the tag's buffer that `call` needs, beside the headers.
  struct Room {
    uint32_t data_bytes = 0;  // whole pages
    uint32_t edge_bytes = 0;
  };
  Room room_for(const Call& call) const;

  // Serves any tag.call, and sets tag.answer. `request` is the tag's.
  Task serve(Request& request, Tag& tag);
  // Afterwards: counts the request and resets the arena.
  void conclude(Tag& tag, QueueCounters& counters) const;

  OneFile& file() { return file_; }
  const Stack& stack() const { return stack_; }

 private:
  Task read_file(Request& request, Tag& tag);
  Task write_file(Request& request, Tag& tag);
  Task allocate(Request& request, Tag& tag);
  Task copy_slot(Request& request, Tag& tag);
  Task transfer(Request& request, sluice::Tag& tag, uint64_t offset, std::span<std::byte> memory,
                Ends ends) override;

  static View lend(const Request& request, Tag& tag, std::span<std::byte> memory, bool piped);
  bool may_pipe(const Request& request, const Tag& tag, Ends ends) const;
  Status pull_data(Tag& tag) const;
  bool may_lend_slot(const Request& request, const Tag& tag) const;
  static bool falls_back(Tag& tag, Status status);
  Status plan_read(Request& request, const Tag& tag) const;
  Status plan_write(Request& request, const Tag& tag) const;
  Status plan_allocate(Request& request, const Tag& tag) const;

  Stack& stack_;
  OneFile& file_;
  const uint32_t max_io_bytes_;
};

}  // namespace sluice::fuse
