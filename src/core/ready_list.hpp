// ReadyList: the runnable coroutines of one reactor, in the order in which they became ready.
//
// Owned by a Ring and used by its thread only. Completions and finished children push coroutines;
// only the reactor loop resumes them, after it has collected *all* completions. Nothing else in the
// project resumes a coroutine.
#pragma once

#include <coroutine>
#include <cstddef>
#include <vector>

namespace sluice {

class ReadyList {
 public:
  ReadyList() : slots_(kInitialSlots) {}

  void push(std::coroutine_handle<> coroutine) {
    if (count_ == slots_.size()) grow();
    slots_[(head_ + count_++) & (slots_.size() - 1)] = coroutine;
  }

  bool empty() const { return count_ == 0; }

  // Resumes coroutines until none is ready, including those that become ready meanwhile.
  void run() {
    while (count_ != 0) {
      const std::coroutine_handle<> coroutine = slots_[head_];
      head_ = (head_ + 1) & (slots_.size() - 1);
      --count_;
      coroutine.resume();
    }
  }

 private:
  static constexpr size_t kInitialSlots = 1024;  // a power of two, and more than most queues need

  void grow() {
    std::vector<std::coroutine_handle<>> larger(slots_.size() * 2);
    for (size_t i = 0; i < count_; ++i) larger[i] = slots_[(head_ + i) & (slots_.size() - 1)];
    slots_.swap(larger);
    head_ = 0;
  }

  std::vector<std::coroutine_handle<>> slots_;  // circular; its size is a power of two
  size_t head_ = 0;
  size_t count_ = 0;
};

}  // namespace sluice
