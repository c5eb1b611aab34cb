// Newcomers: the clients that another server has handed over.
#include <algorithm>
#include <memory>
#include <utility>

#include "frontend/nbd/newcomers.hpp"
#include "frontend/nbd/queue.hpp"

namespace sluice::nbd {

// Clients on their way to a queue. Deletes itself when they are there.
class Newcomers::HandedArrival final : public Message {
 public:
  HandedArrival(NbdQueue& queue, std::vector<int> listeners)
      : queue_(queue), listeners_(std::move(listeners)) {}

  void add(HandedClient client) { clients_.push_back(std::move(client)); }
  void run() override {
    const std::unique_ptr<HandedArrival> self(this);
    queue_.go_on(listeners_, std::move(clients_));
  }

 private:
  NbdQueue& queue_;
  const std::vector<int> listeners_;
  std::vector<HandedClient> clients_;
};

std::vector<NbdQueue*> Newcomers::queues() const {
  const std::scoped_lock guard(mutex_);
  std::vector<NbdQueue*> queues;
  for (const Place& place : places_) queues.push_back(place.queue);
  std::ranges::sort(queues, {}, &NbdQueue::id);
  return queues;
}

void Newcomers::hold() {
  const std::scoped_lock guard(mutex_);
  held_ = true;
}

void Newcomers::release() {
  {
    const std::scoped_lock guard(mutex_);
    held_ = false;
    if (!note_deserted()) return;
  }
  deserted_();
}

bool Newcomers::any_has_agreed() const {
  const std::scoped_lock guard(mutex_);
  return has_agreed_;
}

void Newcomers::bring(std::vector<int> listeners, std::vector<HandedClient> clients,
                      bool any_has_agreed) {
  const std::scoped_lock guard(mutex_);
  has_agreed_ = any_has_agreed;
  std::ranges::sort(places_, {}, [](const Place& place) { return place.queue->id(); });
  std::vector<std::unique_ptr<HandedArrival>> arrivals;
  for (const Place& place : places_) {
    arrivals.push_back(std::make_unique<HandedArrival>(
        *place.queue, arrivals.empty() ? std::move(listeners) : std::vector<int>()));
  }
  for (HandedClient& client : clients) {
    const size_t number = client.state.queue % places_.size();
    ++places_[number].clients;
    arrivals[number]->add(std::move(client));
  }
  for (size_t i = 0; i < places_.size(); ++i) places_[i].ring->post(*arrivals[i].release());
}

}  // namespace sluice::nbd
