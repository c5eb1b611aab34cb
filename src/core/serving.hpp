// Serving: keeps up where a request is (core/whereabouts.hpp) while a coroutine serves it.
//
// Part of the coroutine's promise, from its beginning to end(). Several can serve one request, each
// called by the one before or side by side.
#pragma once

#include "core/ready_list.hpp"
#include "core/request.hpp"

namespace sluice {

class Serving {
 public:
  // The request is where it came in last, and among its parent's children, if it is not yet.
  explicit Serving(Request& request) : request_(request), outer_(request.where.at) {
    Whereabouts& where = request_.where;
    where.at = where.door;
    const Request* const parent = where.parent;
    listed_ = outer_ == nullptr && parent != nullptr;
    if (!listed_) return;
    where.next = parent->where.first_child;
    where.previous = nullptr;
    if (where.next != nullptr) where.next->where.previous = &request_;
    parent->where.first_child = &request_;
  }
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

  // The request is where it was before. Both it and its parent still live.
  void end() {
    Whereabouts& where = request_.where;
    where.at = outer_;
    if (!listed_) return;
    (where.previous != nullptr ? where.previous->where.next : where.parent->where.first_child) =
        where.next;
    if (where.next != nullptr) where.next->where.previous = where.previous;
  }

  ReadyList& ready() const { return *request_.ready; }

 private:
  Request& request_;
  const Target* const outer_;  // where it was before
  bool listed_;                // by us
};

}  // namespace sluice
