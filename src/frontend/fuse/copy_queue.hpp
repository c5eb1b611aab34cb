// CopyQueue: requests by read of /dev/fuse, answers by write.
//
// One immortal coroutine per tag: read a request, serve it, write the answer, and again. Where one
// operation serves a request, the answer is linked to it (ring/linked_command.hpp). As many tags
// read at a time as there are requests in flight, or more (reader_count.hpp). The descriptor is
// O_NONBLOCK, so that the ring polls it and no worker thread waits.
//
// A tag that reads has memory for the largest request. Once a request has come, the tag keeps only
// the memory that this request needs. All memory comes from the queue's reserve.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "core/page_pool.hpp"
#include "frontend/fuse/reader_count.hpp"
#include "frontend/fuse/reader_queue.hpp"

namespace sluice::fuse {

class CopyQueue final : public ReaderQueue, private EarlyAnswerer {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;
    uint32_t max_io_bytes = 0;
    File device;  // /dev/fuse, registered
    std::optional<uint32_t> reserve_bytes{};
  };

  // ENOMEM: no room for the reserve.
  static Result<std::unique_ptr<CopyQueue>> create(const Setup& setup, Ring& ring, FileIo& io,
                                                   QueueListener& listener);
  ~CopyQueue() override;

  Result<void> start(int device) override;

 private:
  struct CopyTag;

  CopyQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener);

  Service serve(CopyTag& tag);
  RawOperation reading(const CopyTag& tag);
  io_uring_sqe answer_sqe(const Tag& tag) const;
  void offer_answer(Tag& tag) override { tag.linked_command.offer(answer_sqe(tag)); }
  bool accept(CopyTag& tag, int32_t result);
  void settle(CopyTag& tag, uint32_t frame_bytes);
  uint32_t readers_wanted() const override;

  const Setup setup_;
  const size_t reading_bytes_;  // the memory of a tag that reads
  uint32_t readers_max_ = 1;
  ReaderCount reader_count_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<CopyTag[]> tags_;
  uint32_t serving_ = 0;  // tags with a request
};

}  // namespace sluice::fuse
