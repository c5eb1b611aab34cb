// Queue: one source of FUSE requests on one ring: read and write of /dev/fuse (CopyQueue), or one
// of the kernel's per-processor queues over io_uring (UringQueue).
//
// Created and used by the ring's thread only, but for counters(). It is finished, and says so to
// its listener once, when no request is with it and none will come: the file system is gone, or
// stop() was called.
#pragma once

#include "frontend/fuse/file_io.hpp"
#include "frontend/in_flight.hpp"
#include "frontend/queue_counters.hpp"
#include "frontend/queue_listener.hpp"

namespace sluice::fuse {

class Queue {
 public:
  Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  virtual ~Queue() = default;

  virtual void start() = 0;
  // Takes no more requests; those that it has are answered.
  virtual void stop() = 0;
  // Whether the kernel still has commands of a finished queue, which only the end of the ring takes
  // away from it.
  virtual bool leaves_commands() const { return false; }

  virtual void list_in_flight(std::vector<InFlight>& found) const = 0;

  const QueueCounters& counters() const { return counters_; }

 protected:
  QueueCounters counters_;
};

}  // namespace sluice::fuse
