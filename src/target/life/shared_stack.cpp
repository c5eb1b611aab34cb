#include "target/life/shared_stack.hpp"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <utility>

#include "ring/async_mutex.hpp"
#include "ring/ring.hpp"

namespace sluice {
namespace {

// The shared stacks of this process.
struct Names {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<SharedStack>, std::less<>> stacks;
};

Names& names() {
  static Names all;
  return all;
}

}  // namespace

// Used by the ring's thread.
struct SharedStack::OnRing : RingResident {
  AsyncMutex mutex;       // held while the stack is attached or detached
  size_t users = 0;       // attached, or waiting to be
  bool attached = false;  // the stack
};

Result<std::shared_ptr<SharedStack>> SharedStack::start(std::string name,
                                                        std::unique_ptr<Stack> stack) {
  const std::shared_ptr<SharedStack> shared(new SharedStack(std::move(name), std::move(stack)));
  if (auto started = shared->stack_->start(); !started) return std::unexpected(started.error());
  Names& all = names();
  const std::scoped_lock guard(all.mutex);
  std::weak_ptr<SharedStack>& place = all.stacks[shared->name_];
  if (!place.expired()) {
    return fail(EEXIST, fmt::format("{} is served by this process already", shared->name_));
  }
  place = shared;
  return shared;
}

std::shared_ptr<SharedStack> SharedStack::find(std::string_view name) {
  Names& all = names();
  const std::scoped_lock guard(all.mutex);
  const auto found = all.stacks.find(name);
  return found == all.stacks.end() ? nullptr : found->second.lock();
}

SharedStack::SharedStack(std::string name, std::unique_ptr<Stack> stack)
    : name_(std::move(name)), stack_(std::move(stack)) {}

SharedStack::~SharedStack() {
  Names& all = names();
  const std::scoped_lock guard(all.mutex);
  const auto found = all.stacks.find(name_);
  if (found != all.stacks.end() && found->second.expired()) all.stacks.erase(found);
}

Task SharedStack::attach(Request& request, LifeCall& call) {
  Ring& ring = *request.ring;
  if (on_ring_.of(ring) == nullptr) on_ring_.put(ring, std::make_unique<OnRing>());
  OnRing& here = *on_ring_.of(ring);
  ++here.users;
  Status status = kOk;
  {
    AsyncMutex::Hold hold(here.mutex, ring);
    co_await hold;
    if (!here.attached) {
      put_files(ring);
      Task attaching = stack_->life().attach(request, call);
      status = co_await attaching;
      here.attached = status.ok();
      if (!status.ok()) drop_files(ring);
    }
  }
  if (!status.ok() && --here.users == 0) on_ring_.take(ring);
  co_return status;
}

Task SharedStack::detach(Request& request, LifeCall& call) {
  Ring& ring = *request.ring;
  OnRing& here = *on_ring_.of(ring);
  Status status = kOk;
  {
    AsyncMutex::Hold hold(here.mutex, ring);
    co_await hold;
    if (here.users == 1) {
      Task detaching = stack_->life().detach(request, call);
      status = co_await detaching;
      here.attached = false;
      drop_files(ring);
    }
    --here.users;
  }
  if (here.users == 0) on_ring_.take(ring);
  co_return status;
}

void SharedStack::put_files(Ring& ring) const {
  for (const RegisteredFile& file : stack_->registered_files()) {
    ring.put_file(file.slot, file.descriptor);
  }
}

void SharedStack::drop_files(Ring& ring) const {
  for (const RegisteredFile& file : stack_->registered_files()) ring.put_file(file.slot, -1);
}

Health SharedStack::health() const {
  StackHealth whole = stack_->health();
  return {.state = whole.state, .reason = std::move(whole.reason)};
}

}  // namespace sluice
