// ReplaceableChild: a child of a living target that can be replaced while requests are served.
//
//   class Mirror : public Target {
//     bool starts_children() const override { return true; }
//     ReplaceableChild leg_{*this, 0};       for child(0)
//   };
//   start(), attach(), detach(), stop():     call the same function of leg_: the first two before
//                                            their own work, the others after it
//   do_submit():                             ReplaceableChild::Use leg(leg_, *request.ring);
//                                            Task serving = leg->submit(request); co_await serving
//   control():                               Task replacing = leg_.replace(request, call, ...)
//
// A replacement is started and attached to every ring first; a failure up to there changes nothing.
// Then each ring sends new requests to it. The former child is detached from a ring when its last
// request there has ended, and is stopped and destroyed when that is so on all rings.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "core/task.hpp"
#include "ring/event.hpp"
#include "ring/ring_local.hpp"
#include "target/life/life_call.hpp"
#include "target/life/stack_life.hpp"
#include "target/target.hpp"

namespace sluice {

class ReplaceableChild {
 private:
  struct Users;
  struct StandIn;

 public:
  class Use;

  ReplaceableChild(Target& owner, size_t index) : owner_(owner), index_(index) {}
  ReplaceableChild(const ReplaceableChild&) = delete;
  ReplaceableChild& operator=(const ReplaceableChild&) = delete;
  ~ReplaceableChild();

  // For the functions of the owner that have these names. Where the owner's own work in start() or
  // attach() fails, it calls stop() or detach() here.
  Task start(Request& request, LifeCall& call);
  Task attach(Request& request, LifeCall& call);
  Task detach(Request& request, LifeCall& call);
  Task stop(Request& request, LifeCall& call);

  // Goes on without the child after start() to serve has failed: a Missing target takes its place.
  void lose(Request& request, LifeCall& call);
  // Goes on without the child on one ring after attach() has failed there: its requests fail with
  // EIO, until the child is replaced.
  void lack(Request& request, LifeCall& call);

  // On the control reactor, between start() and stop(), one call at a time. `next` has been opened.
  // Returns when all new requests go to it. EBUSY: an earlier child still has requests in flight;
  // EINVAL: clients would notice, because `next` is smaller, has larger blocks, is read-only, has
  // a cache or needs bytes where the present child does not; or what start() and attach() report.
  Task replace(Request& request, ControlCall& call, std::unique_ptr<Target> next);

 private:
  struct OnRing;
  struct Part;
  struct Change;

  void begin(Request& request, LifeCall& call);
  void join(Ring& ring, std::unique_ptr<Users> users);
  std::shared_ptr<Part> leave(Ring& ring);
  Status check(const Target& next, ControlCall& call) const;
  Task switch_rings(Request& request, LifeCall& call);
  void tell(const std::vector<std::shared_ptr<Part>>& parts,
            Service (ReplaceableChild::*work)(std::shared_ptr<Part>));
  Service retire(std::unique_ptr<Change> change, Ring& control);
  void finish_change(Ring& control);
  Service prepare(std::shared_ptr<Part> part);
  Service commit(std::shared_ptr<Part> part);
  Service abort(std::shared_ptr<Part> part);

  Target& owner_;
  const size_t index_;
  RingLocal<OnRing> on_ring_;
  std::vector<std::unique_ptr<Target>> lost_;  // rings of earlier starts may know their files
  std::unique_ptr<StackLife> life_;  // of the child; this and all up to `idle_`: control path only
  Jobs* jobs_ = nullptr;             // of the last start(), as the next two
  ControlReactor* reactor_ = nullptr;
  Ring* control_ = nullptr;   // its ring; null: not started
  Change* change_ = nullptr;  // until the former child is destroyed
  Event idle_;                // there is no change

  std::mutex mutex_;                          // guards the rest
  std::vector<Ring*> rings_;                  // that bring requests
  std::vector<std::shared_ptr<Part>> parts_;  // of the change, on these rings
};

// The child on this ring, kept for one request. Lives in a coroutine frame.
class ReplaceableChild::Use {
 public:
  Use(ReplaceableChild& child, Ring& ring);
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use();

  Target* operator->() const;
  Target& operator*() const { return *operator->(); }

 private:
  Users& users_;
  Ring& ring_;
};

}  // namespace sluice
