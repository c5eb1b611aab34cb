#include "frontend/nbd/newcomers.hpp"

#include <algorithm>
#include <utility>

#include "frontend/nbd/queue.hpp"

namespace sluice::nbd {

// A client on its way to a queue. Deletes itself when it is there.
class Newcomers::Arrival final : public Message {
 public:
  Arrival(Newcomers& newcomers, NbdQueue& queue, Descriptor socket)
      : newcomers_(newcomers), queue_(queue), socket_(std::move(socket)) {}

  void run() override {
    const std::unique_ptr<Arrival> self(this);
    newcomers_.arrived(queue_);
    queue_.welcome(std::move(socket_));
  }

 private:
  Newcomers& newcomers_;
  NbdQueue& queue_;
  Descriptor socket_;
};

void Newcomers::join(NbdQueue& queue, Ring& ring) {
  const std::scoped_lock guard(mutex_);
  places_.push_back({.queue = &queue, .ring = &ring});
}

bool Newcomers::offer(Descriptor socket) {
  const std::scoped_lock guard(mutex_);
  size_t clients = 0;
  Place* best = nullptr;
  for (Place& place : places_) {
    clients += place.clients;
    if (place.open && (best == nullptr || place.clients < best->clients)) best = &place;
  }
  const bool has_room = best != nullptr && clients < most_ && best->clients < kMostOfQueue;
  if (is_deserted_ || !has_room) return false;
  ++best->clients;
  ++best->on_their_way;
  best->ring->post(*new Arrival(*this, *best->queue, std::move(socket)));
  return true;
}

void Newcomers::close(NbdQueue& queue) {
  const std::scoped_lock guard(mutex_);
  place_of(queue).open = false;
}

void Newcomers::open(NbdQueue& queue) {
  const std::scoped_lock guard(mutex_);
  place_of(queue).open = true;
}

bool Newcomers::expects_more(const NbdQueue& queue) const {
  const std::scoped_lock guard(mutex_);
  const auto place = std::ranges::find(places_, &queue, &Place::queue);
  return place != places_.end() && place->on_their_way != 0;
}

void Newcomers::has_agreed() {
  const std::scoped_lock guard(mutex_);
  has_agreed_ = true;
}

void Newcomers::leave(NbdQueue& queue) {
  {
    const std::scoped_lock guard(mutex_);
    --place_of(queue).clients;
    if (departed_ || !note_deserted()) return;
  }
  deserted_();
}

// True once. Not in a handover: whoever serves afterwards finds out.
bool Newcomers::note_deserted() {
  const bool is_empty = std::ranges::all_of(places_, [](auto& each) { return each.clients == 0; });
  if (!deserted_ || !has_agreed_ || !is_empty || held_ || is_deserted_) return false;
  return is_deserted_ = true;
}

size_t Newcomers::clients() const {
  const std::scoped_lock guard(mutex_);
  size_t clients = 0;
  for (const Place& place : places_) clients += place.clients;
  return clients;
}

Newcomers::Place& Newcomers::place_of(const NbdQueue& queue) {
  return *std::ranges::find(places_, &queue, &Place::queue);
}

void Newcomers::arrived(const NbdQueue& queue) {
  const std::scoped_lock guard(mutex_);
  --place_of(queue).on_their_way;
}

}  // namespace sluice::nbd
