// Queue: serves the I/O of a program in this process, on one ring: the front end that needs neither
// a kernel driver nor privilege.
//
// One immortal coroutine per tag: take an Io, lend its memory, submit to the stack, wait until the
// loan is back, report. What comes while all tags are taken waits its turn. Created and used by the
// ring's thread, but for post() and counters(). It ends with no Io in it.
#pragma once

#include <cstdint>
#include <memory>

#include "frontend/direct/io.hpp"
#include "frontend/queue_counters.hpp"
#include "ring/ring.hpp"
#include "target/stack.hpp"

namespace sluice::direct {

class Queue {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;  // tags
  };

  Queue(const Setup& setup, Ring& ring, Stack& stack);
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  ~Queue();

  // On the ring's thread.
  void submit(Io& io);
  // From any thread.
  void post(Io& io);

  const QueueCounters& counters() const { return counters_; }
  // Whether there is I/O in it. On the ring's thread.
  bool busy() const { return submitted_ != 0; }

 private:
  friend class Io;
  struct Tag;
  struct NextIo;

  Service serve(Tag& tag);
  void begin(Tag& tag);
  Status conclude(Tag& tag, Status status);

  Ring& ring_;
  Stack& stack_;
  const uint16_t depth_;
  std::unique_ptr<Tag[]> tags_;
  Tag* free_ = nullptr;
  Io* waiting_head_ = nullptr;
  Io* waiting_tail_ = nullptr;
  uint64_t submitted_ = 0;  // and not ended
  QueueCounters counters_;
};

}  // namespace sluice::direct
