// plan_queue: the plan by which a reactor makes a queue of an export.
#pragma once

#include "frontend/fuse/file_io.hpp"
#include "reactor/reactor.hpp"

namespace sluice::fuse {

// Q: CopyQueue, SpliceQueue or UringQueue. `io` outlives the reactor.
template <typename Q>
Reactor::QueuePlan plan_queue(const typename Q::Setup& setup, FileIo& io) {
  return {.tags = setup.depth, .make = [setup, &io](KernelRing& ring, QueueListener& reactor) {
            return Q::create(setup, ring, io, reactor);
          }};
}

}  // namespace sluice::fuse
