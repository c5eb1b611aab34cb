// Queue: one source of requests on one ring: a hardware queue of a ublk device, a reader of
// /dev/fuse, the I/O of a program.
//
// Made by a front end on the reactor's thread and used by that thread only, but for counters() and
// swap_risk(). It holds its tags (reactor/tag.hpp) and the wire; the ring, the thread and the life
// of both are the reactor's. It ends once: it calls QueueListener::finished() when it has no
// request and will get none.
#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"
#include "reactor/in_flight.hpp"
#include "reactor/queue_counters.hpp"

namespace sluice {

// The interface of the reactor for its queues. Called on its thread.
class QueueListener {
 public:
  // The queue has ended; once.
  virtual void finished() = 0;
  // The queue was told to pause, and has no request left.
  virtual void paused() {}

 protected:
  ~QueueListener() = default;
};

class Queue {
 public:
  explicit Queue(QueueListener& listener) : listener_(listener) {}
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  virtual ~Queue() = default;

  // Takes requests from `device`, a descriptor that is also registered with the ring, or -1 for a
  // queue without one. Once.
  virtual Result<void> start(int device) = 0;
  // Takes no more requests. The queue ends when those that it has are answered; at once if it was
  // never started. May be called again.
  virtual void stop() = 0;
  // Takes no more requests and, when those that it has are answered, either calls
  // QueueListener::paused() or ends, if its wire cannot be resumed.
  virtual void pause() = 0;
  virtual void resume() = 0;
  // The error with which the kernel has refused a command of start(), if any.
  virtual Result<void> check_taken() const { return {}; }
  // True if the kernel still has commands of this queue after its end. Only the end of the ring
  // takes them back.
  virtual bool leaves_commands() const { return false; }

  // Adds the requests that were taken and are not answered.
  virtual void list_in_flight(std::vector<InFlight>& found) const = 0;

  const QueueCounters& counters() const { return counters_; }
  // Why a request may have to wait for memory that only this device can free; empty if none has to.
  const std::string& swap_risk() const { return swap_risk_; }

 protected:
  // Tells the listener, the first time.
  void finish() {
    if (finished_) return;
    finished_ = true;
    listener_.finished();
  }
  bool is_finished() const { return finished_; }
  QueueListener& listener() { return listener_; }

  QueueCounters counters_;
  std::string swap_risk_;

 private:
  QueueListener& listener_;
  bool finished_ = false;
};

}  // namespace sluice
