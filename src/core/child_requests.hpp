// ChildRequests: the requests that a parent makes for its children, up to a maximum number.
//
//   ChildRequests parts(request, members_.size());
//   Gather children(request, members_.size());
//   for (...) children.add(member->submit(parts.add(request.child(...))));
//
// Lives in the parent's frame and is declared before the Gather, so that every request outlives its
// Task; the requests themselves lie in the arena of the parent's request.
#pragma once

#include <cassert>
#include <memory>
#include <new>
#include <utility>

#include "core/arena.hpp"
#include "core/request.hpp"

namespace sluice {

class ChildRequests {
 public:
  ChildRequests(Request& parent, size_t capacity)
      : arena_(*parent.arena),
        requests_(static_cast<Request*>(arena_.allocate(capacity * sizeof(Request)))),
        capacity_(capacity) {}
  ChildRequests(const ChildRequests&) = delete;
  ChildRequests& operator=(const ChildRequests&) = delete;
  ~ChildRequests() {
    std::destroy_n(requests_, count_);
    arena_.release(requests_, capacity_ * sizeof(Request));
  }

  // The reference is valid as long as this object.
  Request& add(Request child) {
    assert(count_ < capacity_);
    return *new (&requests_[count_++]) Request(std::move(child));
  }

 private:
  Arena& arena_;
  Request* requests_;
  size_t capacity_;
  size_t count_ = 0;
};

}  // namespace sluice
