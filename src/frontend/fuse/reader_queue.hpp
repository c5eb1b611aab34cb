// ReaderQueue: the tags of a queue that take turns at reading requests from /dev/fuse.
//
// Only a few tags read at a time and the others are parked, because every request wakes every
// waiting read. To stop or to pause, the queue cancels the reads, and all tags park.
#pragma once

#include <coroutine>
#include <cstdint>
#include <vector>

#include "frontend/fuse/file_io.hpp"
#include "frontend/fuse/tag.hpp"
#include "reactor/queue.hpp"
#include "ring/raw_operation.hpp"

namespace sluice::fuse {

class ReaderQueue : public Queue {
 public:
  void stop() final;
  void pause() final;
  void resume() final;
  void list_in_flight(std::vector<InFlight>& found) const final;

 protected:
  struct Reader {
    Tag tag;
    RawOperation* waiting = nullptr;  // the operation that waits for a request, if any
    std::coroutine_handle<> parked;
  };
  class Turn;

  ReaderQueue(Ring& ring, FileIo& io, QueueListener& listener, uint16_t depth);

  // Call before the reader's coroutine is started.
  void add(Reader& reader);
  // co_await turn(reader) parks the reader until it should read, or the queue stops. Afterwards the
  // reader counts as reading until end_reading().
  Turn turn(Reader& reader);
  void end_reading() { --reading_; }
  // Wakes as many parked readers as should read now.
  void wake_readers();
  // How many readers there should be, at least 1.
  virtual uint32_t readers_wanted() const = 0;
  // Call at the end of the reader's coroutine.
  void remove() {
    if (--live_readers_ == 0) finish();
  }

  bool stopping() const { return stopping_; }
  // True while requests are taken.
  bool taking() const { return !stopping_ && !pausing_; }

  Ring& ring_;
  FileIo& io_;

 private:
  void cancel_reads();

  std::vector<Reader*> readers_;
  std::vector<Reader*> parked_;  // last in, first out: its memory is still in the cache
  uint32_t reading_ = 0;
  uint32_t live_readers_ = 0;
  bool stopping_ = false;
  bool pausing_ = false;
};

class ReaderQueue::Turn {
 public:
  Turn(ReaderQueue& queue, Reader& reader) : queue_(queue), reader_(reader) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    reader_.parked = coroutine;
    queue_.parked_.push_back(&reader_);
    queue_.wake_readers();
  }
  void await_resume() const {}

 private:
  ReaderQueue& queue_;
  Reader& reader_;
};

inline ReaderQueue::Turn ReaderQueue::turn(Reader& reader) { return {*this, reader}; }

}  // namespace sluice::fuse
