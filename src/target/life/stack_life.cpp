#include "target/life/stack_life.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/log.hpp"

namespace sluice {
namespace {

Result<void> check_same(const Target& target, const Geometry& before) {
  const Geometry& now = target.geometry();
  if (now.logical_block_bytes != before.logical_block_bytes) {
    return fail(ESTALE,
                fmt::format("{} had blocks of {} bytes when it was opened, and has blocks "
                            "of {} now: add the device again",
                            target.name(), before.logical_block_bytes, now.logical_block_bytes));
  }
  if (now.size_bytes < before.size_bytes) {
    return fail(ESTALE, fmt::format("{} had {} bytes when it was opened, and has only {} now: "
                                    "restore it to its size",
                                    target.name(), before.size_bytes, now.size_bytes));
  }
  return {};
}

std::string reason(const Target& target, const LifeCall& call, std::string_view verb,
                   Status status) {
  if (!call.why.empty()) return call.why;
  return fmt::format("{} cannot be {}: {}", target.name(), verb, std::strerror(status.error()));
}

}  // namespace

void StackLife::collect(Target& target) {
  if (!target.starts_children()) {
    for (const auto& child : target.children()) collect(*child);
  }
  if (target.is_living()) targets_.push_back(&target);
}

// --- On the control path.

Result<void> StackLife::start(ControlReactor& control) {
  for (Target* const target : targets_) {
    const Geometry before = target->geometry();
    auto result = start_one(*target, control, LifeCall::Purpose::serve);
    if (result) {
      ++started_;
      result = check_same(*target, before);
    }
    if (!result) {
      stop(control);
      return result;
    }
  }
  if (const Status begun = jobs_.begin(control); !begun.ok()) {
    stop(control);
    return fail(begun.error(), "the control reactor does not answer");
  }
  return {};
}

void StackLife::stop(ControlReactor& control) {
  jobs_.end(control);
  stop_down_to(0, control);
}

void StackLife::stop_down_to(size_t kept, ControlReactor& control) {
  while (started_ > kept) stop_one(*targets_[--started_], control);
}

Result<void> StackLife::look_at(Target& target, ControlReactor& control) {
  auto looked = start_one(target, control, LifeCall::Purpose::look);
  if (looked) {
    targets_.push_back(&target);
    ++started_;
  }
  return looked;
}

void StackLife::end_look(ControlReactor& control, size_t kept) {
  stop_down_to(kept, control);
  targets_.resize(started_);
}

Result<void> StackLife::start_one(Target& target, ControlReactor& control,
                                  LifeCall::Purpose purpose) {
  LifeCall call{.purpose = purpose};
  if (purpose == LifeCall::Purpose::serve) {
    call.jobs = &jobs_;
    call.control = &control;
  }
  auto started = perform(control, target, &Target::start, call, "started");
  if (!started) return started;
  auto attached = perform(control, target, &Target::attach, call, "attached");
  if (attached) return attached;
  jobs_.end(control);
  auto stopped = perform(control, target, &Target::stop, {}, "stopped");
  if (!stopped) log().warn("{}", stopped.error().text);
  return attached;
}

void StackLife::stop_one(Target& target, ControlReactor& control) {
  auto detached = perform(control, target, &Target::detach, {}, "detached");
  if (!detached) log().warn("{}", detached.error().text);
  auto stopped = perform(control, target, &Target::stop, {}, "stopped");
  if (!stopped) log().warn("{}", stopped.error().text);
}

Result<void> StackLife::perform(ControlReactor& control, Target& target, Step step, LifeCall call,
                                std::string_view verb) {
  call.deadline = LifeCall::Clock::now() + kTimeout;
  // Shared, since a call that has not ended by the deadline may write to it later.
  const auto shared = std::make_shared<LifeCall>(std::move(call));
  const auto work = [shared, step, &target](Request& request) {
    return (target.*step)(request, *shared);
  };
  constexpr std::chrono::seconds kGrace{1};  // for a target to end a call that has timed out
  const Status status = control.perform(work, shared->deadline + kGrace);
  if (status.ok()) return {};
  if (status.error() == ETIMEDOUT && shared->why.empty()) {
    return fail(ETIMEDOUT, fmt::format("{} could not be {} within {} seconds", target.name(), verb,
                                       kTimeout.count()));
  }
  return fail(status.error(), reason(target, *shared, verb, status));
}

// --- On the control reactor.

Task StackLife::start_here(Request& request, LifeCall& call) {
  const auto jobs_before = call.jobs == nullptr ? std::vector<Job*>() : call.jobs->all();
  for (Target* const target : targets_) {
    Task starting = target->start(request, call);
    Status status = co_await starting;
    std::string_view verb = "started";
    if (status.ok()) {
      ++started_;
      Task attaching = target->attach(request, call);
      status = co_await attaching;
      verb = "attached";
    }
    if (status.ok()) continue;
    std::string why = reason(*target, call, verb, status);
    note_jobs(call, jobs_before);
    Task undoing = stop_here(request, call);
    [[maybe_unused]] const Status undone = co_await undoing;
    co_return call.fail(status.error(), std::move(why));
  }
  note_jobs(call, jobs_before);
  co_return kOk;
}

void StackLife::note_jobs(const LifeCall& call, const std::vector<Job*>& before) {
  if (call.jobs == nullptr) return;
  jobs_here_ = call.jobs->all();
  std::erase_if(jobs_here_,
                [&](Job* job) { return std::ranges::find(before, job) != before.end(); });
}

Task StackLife::stop_here(Request& request, LifeCall& call) {
  if (call.jobs != nullptr) {
    Task ending = call.jobs->end_some(request, std::exchange(jobs_here_, {}));
    [[maybe_unused]] const Status ended = co_await ending;
  }
  while (started_ != 0) {
    Target& target = *targets_[--started_];
    for (const auto& [step, verb] :
         {std::pair(&Target::detach, "detached"), std::pair(&Target::stop, "stopped")}) {
      call.why.clear();
      Task stopping = (target.*step)(request, call);
      const Status status = co_await stopping;
      if (!status.ok()) log().warn("{}", reason(target, call, verb, status));
    }
  }
  co_return kOk;
}

void StackLife::add_started(Target& target) {
  targets_.push_back(&target);
  ++started_;
}

void StackLife::replace_started(Target& former, Target& next) {
  std::ranges::replace(targets_, &former, &next);
}

void StackLife::split_off(const Target& root, StackLife& other) {
  for (const auto& child : root.children()) split_off(*child, other);
  const auto found = std::ranges::find(targets_, &root);
  if (found == targets_.end()) return;
  const bool is_started = static_cast<size_t>(found - targets_.begin()) < started_;
  other.targets_.push_back(*found);
  if (is_started) ++other.started_;
  targets_.erase(found);
  if (is_started) --started_;
}

// --- On a reactor.

Task StackLife::attach(Request& request, LifeCall& call) {
  for (size_t i = 0; i < targets_.size(); ++i) {
    Task attaching = targets_[i]->attach(request, call);
    const Status status = co_await attaching;
    if (status.ok()) continue;
    std::string why = reason(*targets_[i], call, "attached", status);
    Task undoing = detach_first(request, call, i);
    [[maybe_unused]] const Status undone = co_await undoing;
    call.why = std::move(why);
    co_return status;
  }
  co_return kOk;
}

Task StackLife::detach(Request& request, LifeCall& call) {
  return detach_first(request, call, targets_.size());
}

Task StackLife::detach_first(Request& request, LifeCall& call, size_t count) {
  while (count != 0) {
    Target& target = *targets_[--count];
    call.why.clear();
    Task detaching = target.detach(request, call);
    const Status status = co_await detaching;
    if (!status.ok()) log().warn("{}", reason(target, call, "detached", status));
  }
  co_return kOk;
}

}  // namespace sluice
