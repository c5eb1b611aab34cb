#include "frontend/fuse/reader_queue.hpp"

namespace sluice::fuse {

ReaderQueue::ReaderQueue(Ring& ring, FileIo& io, QueueListener& listener, uint16_t depth)
    : Queue(listener), ring_(ring), io_(io) {
  readers_.reserve(depth);
  parked_.reserve(depth);
}

void ReaderQueue::add(Reader& reader) {
  readers_.push_back(&reader);
  ++live_readers_;
}

void ReaderQueue::stop() {
  if (stopping_) return;
  stopping_ = true;
  if (live_readers_ == 0) finish();
  cancel_reads();
  wake_readers();
}

void ReaderQueue::pause() {
  if (stopping_ || pausing_) return;
  pausing_ = true;
  cancel_reads();
  wake_readers();
}

void ReaderQueue::resume() {
  pausing_ = false;
  wake_readers();
}

void ReaderQueue::list_in_flight(std::vector<InFlight>& found) const {
  for (const Reader* const reader : readers_) reader->tag.list_in_flight(found);
}

void ReaderQueue::cancel_reads() {
  for (const Reader* const reader : readers_) {
    if (reader->waiting != nullptr) ring_.cancel(*reader->waiting);
  }
}

// Wakes all readers at the end, and none in a pause; reports the pause once all have parked.
void ReaderQueue::wake_readers() {
  if (pausing_ && !stopping_) {
    if (parked_.size() == readers_.size()) listener().paused();
    return;
  }
  const uint32_t wanted = readers_wanted();
  while ((stopping_ || reading_ < wanted) && !parked_.empty()) {
    ++reading_;
    ring_.ready().push(parked_.back()->parked);
    parked_.pop_back();
  }
}

}  // namespace sluice::fuse
