// AsyncMutex: a mutex for coroutines of several reactors, which may wait for I/O while holding it.
//
//   AsyncMutex::Hold hold(mutex_, *request.ring);
//   co_await hold;
//
// Waiters are served in order: the mutex is handed over to the next one, so none is overtaken. A
// coroutine that finds the mutex free continues at once; one that waits is resumed by its own ring.
#pragma once

#include <coroutine>
#include <mutex>

#include "ring/parked.hpp"

namespace sluice {

class AsyncMutex {
 public:
  class Hold;

  AsyncMutex() = default;
  AsyncMutex(const AsyncMutex&) = delete;
  AsyncMutex& operator=(const AsyncMutex&) = delete;
  ~AsyncMutex();

 private:
  bool try_take();
  void join(Hold& hold);
  void leave(Ring& here);

  std::mutex mutex_;
  bool held_ = false;  // guarded by mutex_, as are all below
  Fifo<Parked> waiting_;
};

// One holder: an awaitable whose destructor releases the mutex. Lives in a coroutine frame, and
// must not be destroyed between co_await and its resumption.
class [[nodiscard]] AsyncMutex::Hold final : private Parked {
 public:
  Hold(AsyncMutex& mutex, Ring& ring) : Parked(ring), mutex_(mutex) {}
  ~Hold() {
    if (awaited_) mutex_.leave(ring());
  }

  bool await_ready() { return awaited_ = mutex_.try_take(); }
  void await_suspend(std::coroutine_handle<> coroutine) {
    awaited_ = true;
    park(coroutine);
    mutex_.join(*this);
  }
  void await_resume() const {}

 private:
  friend class AsyncMutex;

  AsyncMutex& mutex_;
  bool awaited_ = false;
};

}  // namespace sluice
