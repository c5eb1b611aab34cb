// LegParts: the requests to several legs that serve one request of a mirror, in parallel, and what
// each of them has ended with.
//
//   LegParts parts(request, std::popcount(legs));
//   for (const size_t leg : LegsOf(legs)) parts.add(leg, *legs_[leg], part);
//   const Status first = co_await parts.all();
//
// Lives in a coroutine frame, in the request's arena.
#pragma once

#include <cassert>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include "core/arena.hpp"
#include "core/gather.hpp"
#include "core/request.hpp"
#include "target/mirror/leg.hpp"
#include "target/mirror/members.hpp"

namespace sluice::mirror {

class LegParts {
 public:
  LegParts(Request& request, int capacity)
      : parts_(*request.arena, static_cast<size_t>(capacity)),
        tasks_(request, static_cast<size_t>(capacity)) {}

  void add(size_t index, Leg& leg, Request request) {
    Part& part = parts_.add(index, leg.child, std::move(request));
    const Geometry& geometry = part.child->geometry();
    const bool flushes = part.request.fua && geometry.volatile_cache && !geometry.can_fua;
    tasks_.add(flushes ? submit_with_flush(part.request, leg, *part.child)
                       : part.child->submit(part.request));
  }

  // An awaitable: the first error.
  Gather& all() { return tasks_; }

  // Afterwards: the legs that have done it, and the error of one.
  LegSet done() const {
    LegSet done = 0;
    for (size_t i = 0; i < parts_.count; ++i) {
      if (tasks_.status(i).ok()) done |= leg_bit(parts_.first[i].leg);
    }
    return done;
  }
  Status status_of(size_t leg) const {
    for (size_t i = 0; i < parts_.count; ++i) {
      if (parts_.first[i].leg == leg) return tasks_.status(i);
    }
    return kOk;
  }

 private:
  // Its flush may be what has failed, and then earlier writes are lost: that counts from now on,
  // while other legs are at work.
  Task submit_with_flush(Request& request, Leg& leg, Target& child) {
    Task writing = child.submit(request);
    const Status written = co_await writing;
    if (written.error() == EIO) leg.has_lost = true;
    co_return written;
  }

  struct Part {
    size_t leg;
    ReplaceableChild::Use child;
    Request request;
  };

  struct Parts {
    Parts(Arena& in, size_t most)
        : arena(in), capacity(most), first(static_cast<Part*>(in.allocate(most * sizeof(Part)))) {}
    Parts(const Parts&) = delete;
    Parts& operator=(const Parts&) = delete;
    ~Parts() {
      std::destroy_n(first, count);
      arena.release(first, capacity * sizeof(Part));
    }
    Part& add(size_t leg, ReplaceableChild& child, Request request) {
      assert(count < capacity);
      Ring& ring = *request.ring;
      return *new (&first[count++]) Part{leg, {child, ring}, std::move(request)};
    }

    Arena& arena;
    const size_t capacity;
    Part* const first;
    size_t count = 0;
  };

  Parts parts_;
  Gather tasks_;  // ends before the requests do
};

}  // namespace sluice::mirror
