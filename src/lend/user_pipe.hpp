// UserPipe: a pipe of the server's own, through which a WRITE's pages go to a file with plain
// splice (S8 to S13). Neither end ever blocks.
//
// Owned by the server, one for each request in flight, and used by one thread at a time. Every
// process with its read end can read the pages in it: therefore it never serves READs (S9).
#pragma once

#include "core/error.hpp"
#include "core/pipe.hpp"

namespace sluice::lend {

class UserPipe {
 public:
  static constexpr uint32_t kSlots = 16;
  static constexpr uint32_t kSlotBytes = 4096;

  // Control path. Makes a pipe of 16 slots (S10). EMFILE, EPERM: the kernel allows no more pipes.
  static Result<UserPipe> make();
  // F_SETPIPE_SZ. EPERM: more than /proc/sys/fs/pipe-max-size.
  Result<void> grow(uint32_t bytes);

  Pipe& pipe() { return pipe_; }
  uint32_t capacity_bytes() const;
  uint32_t held_bytes() const;
  // Discards the content.
  void clear();

 private:
  explicit UserPipe(Pipe pipe) : pipe_(std::move(pipe)) {}

  Pipe pipe_;
};

}  // namespace sluice::lend
