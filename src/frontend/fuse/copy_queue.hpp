// CopyQueue: requests by read of /dev/fuse, answers by write.
//
// One immortal coroutine per tag: read a request, serve it, write the answer, and again. Where one
// operation serves a request, the answer is linked to it (ring/follower.hpp). Only a few
// tags read at a time, as many as there was work for last: every waiting read is woken by every
// request. The others are parked, and the one parked last, whose buffer is still in the cache,
// reads next. The descriptor is O_NONBLOCK, so that the ring polls it and no worker thread waits.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "frontend/fuse/queue.hpp"
#include "ring/raw_operation.hpp"

namespace sluice::fuse {

class CopyQueue final : public Queue, private EarlyAnswerer {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
    File device;  // /dev/fuse, registered
  };

  // ENOMEM: no room for the buffers.
  static Result<std::unique_ptr<CopyQueue>> create(const Setup& setup, Ring& ring, FileIo& io,
                                                   QueueListener& listener);
  ~CopyQueue() override;

  void start() override;
  void stop() override;
  void list_in_flight(std::vector<InFlight>& found) const override;

 private:
  struct CopyTag;
  struct Turn;

  CopyQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener);

  Service serve(CopyTag& tag);
  RawOperation reading(const CopyTag& tag);
  io_uring_sqe answer_sqe(const Tag& tag) const;
  void offer_answer(Tag& tag) override { tag.follower.offer(answer_sqe(tag)); }
  bool accept(CopyTag& tag, int32_t result);
  void wake_readers();

  const Setup setup_;
  Ring& ring_;
  FileIo& io_;
  QueueListener& listener_;
  TagMemory memory_;
  std::unique_ptr<CopyTag[]> tags_;
  std::vector<CopyTag*> parked_;  // last in, first out
  uint32_t readers_ = 0;          // tags that read, or are about to
  uint32_t serving_ = 0;          // tags with a request
  uint32_t live_tags_ = 0;
  bool stopping_ = false;
};

}  // namespace sluice::fuse
