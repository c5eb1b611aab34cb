// LifeLine: a robust mutex in shared memory, by which one process notices at once that a thread of
// another has ended, in any way, even if the rest of that process cannot end.
//
// The watched thread makes the line, holds it until it ends, and destroys it. The other process
// gets the descriptor and waits, in a separate thread.
#pragma once

#include <utility>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

class LifeLine {
 public:
  LifeLine() = default;  // none
  LifeLine(LifeLine&& other) noexcept { *this = std::move(other); }
  LifeLine& operator=(LifeLine&& other) noexcept;
  // Releases it, if held here: a thread must not end while it holds an unmapped mutex.
  ~LifeLine();

  // The calling thread holds it from now on.
  static Result<LifeLine> make();
  // In the other process.
  static Result<LifeLine> adopt(Descriptor memory);

  // Blocks until the thread that made it has ended.
  void wait_for_the_end();

  int descriptor() const { return memory_.number(); }

 private:
  struct Shared;

  Result<void> map();

  Descriptor memory_;
  Shared* shared_ = nullptr;
  bool held_ = false;
};

}  // namespace sluice
