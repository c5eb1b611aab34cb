// Io: one block I/O of a program on a device in its own process. The program's memory is lent to
// the stack.
//
// Owned by the program; it and its memory must not move until done() is called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/request.hpp"
#include "core/status.hpp"
#include "ring/completion.hpp"

namespace sluice {
class Extents;
}

namespace sluice::direct {

class Queue;

class Io : private Message, public FifoLink<Io> {
 public:
  Op op = Op::flush;
  bool fua = false;
  bool fast_only = false;         // of write_zeroes, see Request
  uint64_t offset = 0;            // bytes
  uint64_t length = 0;            // bytes; for operations without memory
  std::span<std::byte> memory{};  // for read and write
  // Not null: the Io asks what is data or hole, see Target::extents(), and `op` is flush.
  Extents* extents = nullptr;
  int slot = Loan::kNoSlot;  // of the ring's buffer table, if registered; set by Device

  // The Io has ended: all bytes were moved, or an errno. On the queue's thread; it may be submitted
  // again from here.
  virtual void done(Status status) noexcept = 0;

 protected:
  // Submits it to the same queue, from done() only: without the message that another thread needs.
  // The memory is the same, or `slot` is set to match.
  void again() { run(); }
  Io() = default;
  ~Io() = default;

 private:
  friend class Queue;
  void run() override;

  Queue* queue_ = nullptr;
};

}  // namespace sluice::direct
