// Gather: start several children, wait for all of them, report the first error.
//
//   Gather children(request, members_.size());
//   for (...) children.add(member->submit(parts[i]));
//   const Status status = co_await children;
//
// Lives in the parent's frame; its list of tasks is in the request's arena.
#pragma once

#include <cassert>
#include <memory>
#include <new>

#include "core/task.hpp"

namespace sluice {

class [[nodiscard]] Gather {
 public:
  Gather(Request& request, size_t capacity)
      : arena_(*request.arena),
        tasks_(static_cast<Task*>(arena_.allocate(capacity * sizeof(Task)))),
        capacity_(capacity) {}
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;
  // Newest first, the order in which the arena can undo allocations.
  ~Gather() {
    while (count_ != 0) std::destroy_at(&tasks_[--count_]);
    arena_.release(tasks_, capacity_ * sizeof(Task));
  }

  void add(Task task) {
    assert(count_ < capacity_);
    Task& kept = *new (&tasks_[count_++]) Task(std::move(task));
    if (kept.finished()) {
      waiter_.record(kept.status());
    } else {
      kept.notify(waiter_);
    }
  }

  // Of one of them, by the order of add(). Once all have finished.
  Status status(size_t index) const { return tasks_[index].status(); }

  bool await_ready() const noexcept { return waiter_.pending == 0; }
  void await_suspend(std::coroutine_handle<> parent) noexcept { waiter_.parent = parent; }
  Status await_resume() const noexcept { return waiter_.first_error; }

 private:
  Arena& arena_;
  Task* tasks_;
  size_t capacity_;
  size_t count_ = 0;
  Waiter waiter_;
};

}  // namespace sluice
