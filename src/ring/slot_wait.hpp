// SlotWait: the awaitable of Ring::acquire_slot(), which waits for a slot of the ring's buffer
// table. Lives in a coroutine frame.
#pragma once

#include <coroutine>

#include "core/fifo.hpp"

namespace sluice {

class Ring;

class [[nodiscard]] SlotWait : public FifoLink<SlotWait> {
 public:
  explicit SlotWait(Ring& ring) : ring_(ring) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> coroutine);
  int await_resume() const { return slot_; }

 private:
  friend class Ring;
  Ring& ring_;
  int slot_ = -1;
  std::coroutine_handle<> coroutine_;
};

}  // namespace sluice
