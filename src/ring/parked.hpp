// Parked: a coroutine that may be resumed by an event on another reactor.
//
// A Parked is part of an awaitable in a coroutine frame. Only its own ring resumes it: through the
// ready list if the caller of resume() runs on that ring, otherwise through Ring::post(). It never
// runs inside resume() or on another thread.
//
// The awaited object (RangeLock, AsyncMutex, Event) guards its state with a mutex and calls
// resume() under it. The waiter takes the same mutex once more before it ends, so that its ring,
// which may end right afterwards, still exists when post() returns.
#pragma once

#include <coroutine>

#include "core/fifo.hpp"
#include "ring/completion.hpp"

namespace sluice {

class Ring;

class Parked : private Message, public FifoLink<Parked> {
 public:
  // `ring`: the ring of the coroutine, whose thread calls park().
  explicit Parked(Ring& ring) : ring_(ring) {}

  void park(std::coroutine_handle<> coroutine) { coroutine_ = coroutine; }
  // Call once for each park(). `here`: the ring of the calling thread.
  void resume(Ring& here);
  // Call on the thread of the coroutine's ring.
  void resume_here();

  Ring& ring() const { return ring_; }

 protected:
  ~Parked() = default;

 private:
  void run() override { resume_here(); }

  Ring& ring_;
  std::coroutine_handle<> coroutine_;
};

}  // namespace sluice
