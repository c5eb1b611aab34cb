// AttachedRings: the rings that bring requests to a target, and their registered files, which
// change when the tree below the target does.
//
// join() and leave() are called on each ring, by attach() and detach(); the others on the control
// reactor, one call at a time.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "core/task.hpp"
#include "ring/completion.hpp"
#include "ring/event.hpp"
#include "ring/file_slot.hpp"
#include "ring/ring.hpp"

namespace sluice::qcow2 {

class AttachedRings {
 public:
  AttachedRings() = default;
  AttachedRings(const AttachedRings&) = delete;
  AttachedRings& operator=(const AttachedRings&) = delete;

  void join(Ring& ring);
  // Waits until the ring has done what it was told.
  Task leave(Request& request);

  // Every ring registers the files, or forgets them. Best effort, see Ring::put_file().
  Task register_files(Request& request, const std::vector<RegisteredFile>& files);
  Task forget_files(Request& request, std::vector<RegisteredFile> files);

 private:
  struct Order;

  std::atomic<size_t> left_ = 0;  // rings that have not done it
  Event all_done_;

  std::mutex mutex_;  // guards what follows
  std::vector<Ring*> rings_;
  std::vector<std::shared_ptr<Order>> orders_;
};

}  // namespace sluice::qcow2
