// SpliceQueue: requests by splice of /dev/fuse into a pipe, answers by splice out of one.
//
// The data of a large WRITE stays in the tag's pipe, and the data of a large READ stays in the
// pipes that fill it: both are lent as pipes (core/pipe.hpp). Small or unaligned requests are read
// out of the pipe and then served as by CopyQueue. One immortal coroutine per tag; one tag at a
// time waits for the device, with a poll on the ring. Data moves between the device and pipes by
// plain system calls that never block: the ring would hand each splice to a worker thread.
#pragma once

#include <cstdint>
#include <memory>

#include "frontend/fuse/reader_queue.hpp"

namespace sluice::fuse {

class SpliceQueue final : public ReaderQueue {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
  };

  // ENOMEM, EPERM, EMFILE: no room for buffers or pipes.
  static Result<std::unique_ptr<SpliceQueue>> create(const Setup& setup, Ring& ring, FileIo& io,
                                                     QueueListener& listener);
  ~SpliceQueue() override;

  Result<void> start(int device) override;

 private:
  struct SpliceTag;

  SpliceQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener);

  Service serve(SpliceTag& tag);
  int receive(SpliceTag& tag) const;
  bool accept(SpliceTag& tag, int result);
  void answer(SpliceTag& tag) const;
  bool answer_from_pipe(SpliceTag& tag) const;
  uint32_t readers_wanted() const override { return 1; }

  const Setup setup_;
  TagMemory memory_;
  std::unique_ptr<SpliceTag[]> tags_;
  int device_ = -1;  // /dev/fuse, O_NONBLOCK
};

}  // namespace sluice::fuse
