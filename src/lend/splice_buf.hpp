// ReadSpliceBuf, WriteSpliceBuf: IORING_OP_READ_SPLICE_BUF and IORING_OP_WRITE_SPLICE_BUF of the
// mails: an ordinary read or write of file B whose memory is the buffer of a request of device A
// (S45). ReadSpliceBuf fills the buffer, WriteSpliceBuf drains it (S46).
//
//   lend::WriteSpliceBuf writing({.file = b, .offset = 0, .length = 4096,
//                                 .device = &a, .position = at.pack()});
//   Task running = writing.run(request);
//   const Status status = co_await running;
//
// The buffer is fetched when the command is made (S47): an earlier step of a chain cannot provide
// it. Fetching takes no system call, and any thread may do it; the posted code required the queue's
// own task (S49) and silently truncated buffers of more than 254 segments (S50). The command holds
// the whole request until it has ended (the posted code: only its pages, S51).
#pragma once

#include "lend/consumer.hpp"
#include "lend/provider.hpp"

namespace sluice::lend {

struct SpliceBufSqe {
  File file;  // B, with an offset in bytes
  uint64_t offset = 0;
  uint32_t length = 0;
  Provider* device = nullptr;  // A
  uint64_t position = 0;       // in A: Position::pack() (S2)
  uint32_t rw_flags = 0;       // RWF_DSYNC of a write
};

class SpliceBuf {
 public:
  // On the thread of the ring of `request`. Success means all bytes were moved. Errors before a
  // byte moves: EBADF: no device A; EINVAL: other rw_flags; those of Provider::lend() (S48, S52).
  // Then those of reading or writing B.
  Task run(Request& request) { return moving_.run(request); }
  uint64_t moved_bytes() const { return moving_.moved_bytes(); }
  // The result a CQE would have (S53).
  int64_t result() const { return moving_.result(); }

 protected:
  SpliceBuf(const SpliceBufSqe& sqe, uint32_t known_flags, const Consumer& consumer);
  ~SpliceBuf() = default;

 private:
  Consumption moving_;
};

class ReadSpliceBuf final : public SpliceBuf {
 public:
  explicit ReadSpliceBuf(const SpliceBufSqe& sqe);
};

class WriteSpliceBuf final : public SpliceBuf {
 public:
  explicit WriteSpliceBuf(const SpliceBufSqe& sqe);
};

}  // namespace sluice::lend
