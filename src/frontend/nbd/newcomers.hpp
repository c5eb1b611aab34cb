// Newcomers: hands the clients that have just connected to the queues of an export, and those that
// another server has handed over.
//
// Owned by the export, used by all of its reactors. A connection counts from offer() or bring() to
// leave().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "core/descriptor.hpp"
#include "frontend/nbd/client_state.hpp"
#include "ring/ring.hpp"

namespace sluice::nbd {

class NbdQueue;

class Newcomers {
 public:
  static constexpr size_t kMostOfQueue = 4096;

  // Clients at a time, beside the limit of each queue. Before the first offer().
  void allow(size_t most) { most_ = most; }
  // Calls this when the last client leaves after at least one has agreed on an export: once, on the
  // thread of a queue, which has not ended then, or in release(). No client is taken
  // afterwards. Before the first offer().
  void when_deserted(std::function<void()> deserted) { deserted_ = std::move(deserted); }

  // The queue takes clients from now on.
  void join(NbdQueue& queue, Ring& ring);
  // Takes the queue that has the fewest clients for this one. False: there are too many clients, or
  // no queue takes any more; the connection is closed. Called on the ring of a queue.
  bool offer(Descriptor socket);
  // The queue takes no more clients. Those on their way to it still come: see expects_more().
  void close(NbdQueue& queue);
  // After close().
  void open(NbdQueue& queue);
  // True until the clients on their way have come.
  bool expects_more(const NbdQueue& queue) const;
  // A client may send requests.
  void has_agreed();
  // A client of the queue has gone.
  void leave(NbdQueue& queue);

  size_t clients() const;

  // --- Handover; newcomers_handover.cpp. Called by the control path.
  // The queues that have joined.
  std::vector<NbdQueue*> queues() const;
  // From hold() to release() the last client may leave without an end.
  void hold();
  void release();
  bool any_has_agreed() const;
  // Sends each client to the queue of its number, or to another one, where it goes on, and the
  // listening sockets to the first queue, which accepts from then on. `any_has_agreed`: of the
  // former server. Once, after serve().
  void bring(std::vector<int> listeners, std::vector<HandedClient> clients, bool any_has_agreed);
  // All clients belong to another server now: queues that stop leave their sockets as they are.
  void depart() { departed_ = true; }
  bool departed() const { return departed_; }

 private:
  class Arrival;
  class HandedArrival;
  struct Place {
    NbdQueue* queue = nullptr;
    Ring* ring = nullptr;
    bool open = true;
    size_t clients = 0;  // those on their way included
    size_t on_their_way = 0;
  };

  Place& place_of(const NbdQueue& queue);
  void arrived(const NbdQueue& queue);
  bool note_deserted();

  size_t most_ = 0;
  std::function<void()> deserted_;
  std::atomic<bool> departed_ = false;
  mutable std::mutex mutex_;
  std::vector<Place> places_;  // guarded by mutex_
  bool has_agreed_ = false;    // likewise
  bool held_ = false;          // likewise
  bool is_deserted_ = false;   // likewise
};

}  // namespace sluice::nbd
