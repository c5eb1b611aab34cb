// TrackedRequest: lists a request as in flight, at one target, while a coroutine serves it.
//
// Part of the coroutine's promise, from its beginning to end(). Several coroutines can serve one
// request, nested or in parallel.
#pragma once

#include "core/ready_list.hpp"
#include "core/request.hpp"

namespace sluice {

class TrackedRequest {
 public:
  // Records the request at the target that it entered last, and in its parent's list of children.
  // One that has entered no target, as on the control path, is not listed: nothing would tell the
  // next coroutine that serves it that it is listed already.
  explicit TrackedRequest(Request& request) : request_(request), outer_(request.tracking.at) {
    RequestTracking& tracking = request_.tracking;
    tracking.at = tracking.door;
    const Request* const parent = tracking.parent;
    listed_ = outer_ == nullptr && tracking.door != nullptr && parent != nullptr;
    if (!listed_) return;
    tracking.next = parent->tracking.first_child;
    tracking.previous = nullptr;
    if (tracking.next != nullptr) tracking.next->tracking.previous = &request_;
    parent->tracking.first_child = &request_;
  }
  TrackedRequest(const TrackedRequest&) = delete;
  TrackedRequest& operator=(const TrackedRequest&) = delete;

  // Restores the previous state. Both the request and its parent must still be alive.
  void end() {
    RequestTracking& tracking = request_.tracking;
    tracking.at = outer_;
    if (!listed_) return;
    (tracking.previous != nullptr ? tracking.previous->tracking.next
                                  : tracking.parent->tracking.first_child) = tracking.next;
    if (tracking.next != nullptr) tracking.next->tracking.previous = tracking.previous;
  }

  ReadyList& ready() const { return *request_.ready; }

 private:
  Request& request_;
  const Target* const outer_;  // where the request was before
  bool listed_;                // by this object
};

}  // namespace sluice
