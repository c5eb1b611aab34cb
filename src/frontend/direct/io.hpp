// Io: one block I/O of a program on a device in its own process. The memory is the program's, and
// is what the device's server is lent.
//
// Owned by the program; it stays where it is, with its memory, until done() was called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/request.hpp"
#include "core/status.hpp"
#include "ring/completion.hpp"

namespace sluice::direct {

class Queue;

class Io : private Message {
 public:
  Op op = Op::flush;
  bool fua = false;
  uint64_t offset = 0;            // bytes
  uint64_t length = 0;            // bytes; of what has no memory: discard, write_zeroes
  std::span<std::byte> memory{};  // of a read or write
  int slot = Loan::kNoSlot;       // where the queue's ring has it registered; Device sets it

  // Ended: all bytes were moved, or an errno. On the
  // queue's thread; the Io may be submitted again from here.
  virtual void done(Status status) = 0;

 protected:
  Io() = default;
  ~Io() = default;

 private:
  friend class Queue;
  void run() override;

  Queue* queue_ = nullptr;
  Io* next_ = nullptr;
};

}  // namespace sluice::direct
