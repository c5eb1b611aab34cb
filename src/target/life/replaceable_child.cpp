#include "target/life/replaceable_child.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "core/log.hpp"
#include "ring/ring.hpp"
#include "target/control_call.hpp"
#include "target/missing.hpp"
#include "target/tree_lock.hpp"

namespace sluice {

// For a child that a ring could not attach.
struct ReplaceableChild::StandIn {
  explicit StandIn(Error why) : missing(std::move(why)) {}
  Missing missing;
  StackLife life{missing};
};

// The requests at one child on one ring. Used by the ring's thread.
struct ReplaceableChild::Users {
  class Gone;

  Target& child;
  StackLife& life;  // of the child
  uint32_t count = 0;
  std::coroutine_handle<> awaits_end = {};
  std::unique_ptr<StandIn> stand_in = {};  // which is the child
};

class ReplaceableChild::Users::Gone {
 public:
  explicit Gone(Users& users) : users_(users) {}
  bool await_ready() const { return users_.count == 0; }
  void await_suspend(std::coroutine_handle<> coroutine) { users_.awaits_end = coroutine; }
  void await_resume() const {}

 private:
  Users& users_;
};

struct ReplaceableChild::OnRing : RingResident {
  explicit OnRing(std::unique_ptr<Users> of) : users(std::move(of)) {}
  std::unique_ptr<Users> users;  // of the child that new requests go to
};

// A replacement under way. Made and destroyed by the control reactor.
struct ReplaceableChild::Change {
  Target* next = nullptr;
  StackLife* next_life = nullptr;
  std::vector<RegisteredFile> next_files;
  std::vector<RegisteredFile> former_files;

  std::unique_ptr<Target> target;      // the one that is not the child: `next`, then the former one
  std::unique_ptr<StackLife> life;     // of that one
  std::atomic<size_t> unswitched = 0;  // rings that have not done what they were told
  Event switched;
  std::atomic<size_t> unretired = 0;  // rings on which the former child is attached
  Event retired;
};

// The work on one ring. Used by the ring's thread, and by the control reactor between its phases.
struct ReplaceableChild::Part final : Message, std::enable_shared_from_this<Part> {
  using Work = Service (ReplaceableChild::*)(std::shared_ptr<Part>);

  Part(ReplaceableChild& of, Ring& on, Change& for_change, const LifeCall& life_call)
      : child(of), ring(on), change(&for_change), life(on), call(life_call) {}
  void run() override { (child.*work)(shared_from_this()); }

  bool is_control() const { return &ring == child.control_; }
  // Detaches a subtree from this ring; any time after the call that asked for the change.
  Task detach(StackLife& from) {
    call.deadline = LifeCall::Clock::now() + StackLife::kTimeout;
    return from.detach(life.request, call);
  }
  void put_files(const std::vector<RegisteredFile>& files) const {
    for (const RegisteredFile& file : files) ring.put_file(file.slot, file.descriptor);
  }
  void drop_files(const std::vector<RegisteredFile>& files) const {
    for (const RegisteredFile& file : files) ring.put_file(file.slot, -1);
  }
  // The last ring to do so sets the event.
  void report(std::atomic<size_t>& left, Event& event) {
    if (left.fetch_sub(1) == 1) event.set(ring);
  }

  ReplaceableChild& child;
  Ring& ring;
  Change* change;
  LifeRequest life;
  LifeCall call;
  Work work = nullptr;
  Status status;
  Event done;  // with the change, on this ring
};

ReplaceableChild::Use::Use(ReplaceableChild& child, Ring& ring)
    : users_(*child.on_ring_.of(ring)->users), ring_(ring) {
  ++users_.count;
}

ReplaceableChild::Use::~Use() {
  if (--users_.count != 0 || !users_.awaits_end) return;
  ring_.ready().push(std::exchange(users_.awaits_end, nullptr));
}

Target* ReplaceableChild::Use::operator->() const { return &users_.child; }

ReplaceableChild::~ReplaceableChild() = default;

// --- The functions of the owner.

// For a look the child has been started already (OpenContext::look_at()).
Task ReplaceableChild::start(Request& request, LifeCall& call) {
  if (!life_) life_ = std::make_unique<StackLife>(owner_.child(index_));
  if (call.purpose == LifeCall::Purpose::serve) {
    Task starting = life_->start_here(request, call);
    const Status started = co_await starting;
    if (!started.ok()) co_return started;
  }
  begin(request, call);
  co_return kOk;
}

void ReplaceableChild::begin(Request& request, LifeCall& call) {
  jobs_ = call.jobs;
  reactor_ = call.control;
  control_ = request.ring;
  join(*request.ring, std::make_unique<Users>(owner_.child(index_), *life_));
}

void ReplaceableChild::lose(Request& request, LifeCall& call) {
  auto missing = std::make_unique<Missing>(Error{EIO, std::exchange(call.why, {})});
  missing->set_name(owner_.child(index_).name());
  life_ = std::make_unique<StackLife>(*missing);
  {
    const std::scoped_lock guard(tree_lock());
    lost_.push_back(std::exchange(owner_.children_[index_], std::move(missing)));
  }
  begin(request, call);
}

// A ring that was made before the child was replaced lacks the child's files.
Task ReplaceableChild::attach(Request& request, LifeCall& call) {
  if (request.ring == control_) co_return kOk;
  for (const RegisteredFile& file : registered_files_of(owner_.child(index_))) {
    request.ring->put_file(file.slot, file.descriptor);
  }
  Task attaching = life_->attach(request, call);
  const Status attached = co_await attaching;
  if (!attached.ok()) co_return attached;
  join(*request.ring, std::make_unique<Users>(owner_.child(index_), *life_));
  co_return kOk;
}

void ReplaceableChild::lack(Request& request, LifeCall& call) {
  auto stand_in = std::make_unique<StandIn>(Error{EIO, std::exchange(call.why, {})});
  auto users = std::make_unique<Users>(stand_in->missing, stand_in->life);
  users->stand_in = std::move(stand_in);
  join(*request.ring, std::move(users));
}

// From now on the ring brings requests, and takes part in changes.
void ReplaceableChild::join(Ring& ring, std::unique_ptr<Users> users) {
  on_ring_.put(ring, std::make_unique<OnRing>(std::move(users)));
  const std::scoped_lock guard(mutex_);
  rings_.push_back(&ring);
}

// First waits until a change is done with this ring: no new one comes to it.
Task ReplaceableChild::detach(Request& request, LifeCall& call) {
  if (request.ring == control_) co_return kOk;
  const auto part = leave(*request.ring);
  if (part) {
    Event::Wait done(part->done, *request.ring);
    co_await done;
  }
  const auto here = on_ring_.take(*request.ring);
  Task detaching = here->users->life.detach(request, call);
  co_return co_await detaching;
}

Task ReplaceableChild::stop(Request& request, LifeCall& call) {
  leave(*request.ring);
  if (change_ != nullptr) {
    Event::Wait idle(idle_, *request.ring);
    co_await idle;
  }
  on_ring_.take(*request.ring);
  control_ = nullptr;
  Task stopping = life_->stop_here(request, call);
  co_return co_await stopping;
}

// The ring takes part in no later change. Returns its part in the present one, or null.
std::shared_ptr<ReplaceableChild::Part> ReplaceableChild::leave(Ring& ring) {
  const std::scoped_lock guard(mutex_);
  std::erase(rings_, &ring);
  const auto found = std::ranges::find_if(parts_, [&](const auto& p) { return &p->ring == &ring; });
  return found == parts_.end() ? nullptr : *found;
}

// --- On the control reactor.

Task ReplaceableChild::replace(Request& request, ControlCall& call, std::unique_ptr<Target> next) {
  if (change_ != nullptr) {
    co_return call.fail(EBUSY, fmt::format("{} was replaced just now, and its predecessor still "
                                           "has requests in flight: try again later",
                                           owner_.child(index_).name()));
  }
  if (const Status fits = check(*next, call); !fits.ok()) co_return fits;
  auto change = std::make_unique<Change>();
  change->life = std::make_unique<StackLife>(*next);
  change->next_life = change->life.get();
  change->next_files = registered_files_of(*next);
  change->former_files = registered_files_of(owner_.child(index_));
  change->next = next.get();
  change->target = std::move(next);
  LifeCall life_call{.deadline = call.deadline, .jobs = jobs_, .control = reactor_};
  Task starting = change->life->start_here(request, life_call);
  if (const Status started = co_await starting; !started.ok()) {
    co_return call.fail(started.error(), std::move(life_call.why));
  }
  change_ = change.get();
  idle_.reset();
  Task switching = switch_rings(request, life_call);
  if (const Status switched = co_await switching; !switched.ok()) {
    std::string why = std::move(life_call.why);
    Task stopping = change->life->stop_here(request, life_call);
    [[maybe_unused]] const Status stopped = co_await stopping;
    finish_change(*request.ring);
    co_return call.fail(switched.error(), std::move(why));
  }
  {
    const std::scoped_lock guard(tree_lock());
    owner_.children_[index_].swap(change->target);
  }
  life_.swap(change->life);
  retire(std::move(change), *request.ring);
  co_return kOk;
}

// Nothing at all may take its place: its owner does without it then.
Status ReplaceableChild::check(const Target& next, ControlCall& call) const {
  if (next.missing() != nullptr) return kOk;
  const Geometry& has = next.geometry();
  const Target& former = owner_.child(index_);
  const Geometry& had = former.missing() ? owner_.geometry() : former.geometry();
  const auto refuse = [&](std::string_view why) {
    return call.fail(EINVAL, fmt::format("{} cannot replace {}: {}", next.name(),
                                         owner_.child(index_).name(), why));
  };
  if (has.size_bytes < had.size_bytes) {
    return refuse(fmt::format("it has only {} bytes, and {} are needed", uint64_t{has.size_bytes},
                              uint64_t{had.size_bytes}));
  }
  if (has.logical_block_bytes > had.logical_block_bytes) {
    return refuse(fmt::format("it has blocks of {} bytes, and at most {} are possible",
                              has.logical_block_bytes, had.logical_block_bytes));
  }
  if (has.memory_alignment_bytes > had.memory_alignment_bytes) {
    return refuse(fmt::format("its requests must be aligned to {} bytes, and are to {}",
                              has.memory_alignment_bytes, had.memory_alignment_bytes));
  }
  if (has.read_only && !had.read_only) return refuse("it is read-only");
  if (has.needs_bytes && !had.needs_bytes) {
    return refuse("it must see the data, which the mode of the device does not show it");
  }
  if (has.volatile_cache && !had.volatile_cache) {
    return refuse("it has a volatile cache, and clients were told that they need not flush");
  }
  return kOk;
}

// On all rings the replacement is made ready, then all switch to it, or drop it again.
Task ReplaceableChild::switch_rings(Request& request, LifeCall& call) {
  std::vector<std::shared_ptr<Part>> parts;
  {
    const std::scoped_lock guard(mutex_);
    for (Ring* const ring : rings_) {
      parts_.push_back(std::make_shared<Part>(*this, *ring, *change_, call));
    }
    parts = parts_;
    tell(parts, &ReplaceableChild::prepare);  // no ring ends before it has let go of mutex_
  }
  {
    Event::Wait prepared(change_->switched, *request.ring);
    co_await prepared;
  }
  Status status;
  for (const auto& part : parts) {
    if (part->status.ok() || !status.ok()) continue;
    status = part->status;
    call.why = part->call.why;
  }
  change_->unretired = parts.size();
  tell(parts, status.ok() ? &ReplaceableChild::commit : &ReplaceableChild::abort);
  Event::Wait switched(change_->switched, *request.ring);
  co_await switched;
  co_return status;
}

// A ring that has a part in a change does not end before it is done.
void ReplaceableChild::tell(const std::vector<std::shared_ptr<Part>>& parts,
                            Service (ReplaceableChild::*work)(std::shared_ptr<Part>)) {
  change_->unswitched = parts.size();
  change_->switched.reset();
  for (const auto& part : parts) {
    part->work = work;
    part->ring.post(*part);
  }
}

Service ReplaceableChild::retire(std::unique_ptr<Change> change, Ring& control) {
  {
    Event::Wait retired(change->retired, control);
    co_await retired;
  }
  {
    LifeRequest life(control);
    LifeCall call{.deadline = LifeCall::Clock::now() + StackLife::kTimeout, .jobs = jobs_};
    Task stopping = change->life->stop_here(life.request, call);
    [[maybe_unused]] const Status stopped = co_await stopping;  // it logs its errors
  }
  change->life.reset();
  if (change->target->missing() == nullptr) {
    log().info("{} has left {}", change->target->name(), owner_.name());
  }
  change->target.reset();
  finish_change(control);
}

void ReplaceableChild::finish_change(Ring& control) {
  {
    const std::scoped_lock guard(mutex_);
    parts_.clear();
  }
  change_ = nullptr;
  idle_.set(control);
}

// --- On each ring.

Service ReplaceableChild::prepare(std::shared_ptr<Part> part) {
  Change& change = *part->change;
  if (!part->is_control()) {
    part->put_files(change.next_files);
    Task attaching = change.next_life->attach(part->life.request, part->call);
    part->status = co_await attaching;
    if (!part->status.ok()) part->drop_files(change.next_files);
  }
  part->life.arena.reset();
  part->report(change.unswitched, change.switched);
}

Service ReplaceableChild::commit(std::shared_ptr<Part> part) {
  Change& change = *part->change;
  OnRing& here = *on_ring_.of(part->ring);
  const auto former =
      std::exchange(here.users, std::make_unique<Users>(*change.next, *change.next_life));
  part->report(change.unswitched, change.switched);
  {
    Users::Gone gone(*former);
    co_await gone;
  }
  if (!part->is_control()) {
    Task detaching = part->detach(former->life);
    [[maybe_unused]] const Status detached = co_await detaching;  // it logs its errors
    part->drop_files(change.former_files);
  }
  part->done.set(part->ring);
  part->report(change.unretired, change.retired);
}

Service ReplaceableChild::abort(std::shared_ptr<Part> part) {
  Change& change = *part->change;
  if (!part->is_control() && part->status.ok()) {
    Task detaching = part->detach(*change.next_life);
    [[maybe_unused]] const Status detached = co_await detaching;
    part->drop_files(change.next_files);
  }
  part->done.set(part->ring);
  part->report(change.unswitched, change.switched);
}

}  // namespace sluice
