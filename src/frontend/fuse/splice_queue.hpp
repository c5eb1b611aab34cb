// SpliceQueue: requests by splice of /dev/fuse into a pipe, answers by splice out of one.
//
// The data of a large WRITE stays in the tag's pipe, what fills a large READ stays in pipes: they
// are lent as such (core/pipe.hpp). Small or unaligned requests are read out of the pipe and go on
// as with CopyQueue. One immortal coroutine per tag; one tag at a time waits for the device, with a
// poll on the ring. Between the device and pipes there are plain system calls that never block: the
// ring would hand each splice to a worker thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "frontend/fuse/queue.hpp"

namespace sluice::fuse {

class SpliceQueue final : public Queue {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
    int device = -1;  // /dev/fuse, O_NONBLOCK
  };

  // The ring's pipes are open. ENOMEM, EPERM, EMFILE: no room for buffers or pipes.
  static Result<std::unique_ptr<SpliceQueue>> create(const Setup& setup, Ring& ring, FileIo& io,
                                                     QueueListener& listener);
  ~SpliceQueue() override;

  void start() override;
  void stop() override;
  void list_in_flight(std::vector<InFlight>& found) const override;

 private:
  struct SpliceTag;
  struct Turn;

  SpliceQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener);

  Service serve(SpliceTag& tag);
  int receive(SpliceTag& tag) const;
  bool accept(SpliceTag& tag, int result);
  void answer(SpliceTag& tag) const;
  bool answer_from_pipe(SpliceTag& tag, const fuse_out_header& header) const;
  void wake_reader();

  const Setup setup_;
  Ring& ring_;
  FileIo& io_;
  QueueListener& listener_;
  TagMemory memory_;
  std::unique_ptr<SpliceTag[]> tags_;
  std::vector<SpliceTag*> parked_;  // last in, first out
  bool reading_ = false;            // by one of the tags
  uint32_t live_tags_ = 0;
  bool stopping_ = false;
};

}  // namespace sluice::fuse
