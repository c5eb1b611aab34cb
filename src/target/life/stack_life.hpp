// StackLife: starts, attaches, detaches and stops the living targets of a tree in the right order
// (target/life/life_call.hpp).
//
// Part of a Stack. start() and stop() are for the control path, one call at a time; attach() and
// detach() are called on each reactor.
#pragma once

#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "target/life/control_reactor.hpp"
#include "target/life/jobs.hpp"
#include "target/life/life_call.hpp"
#include "target/target.hpp"

namespace sluice {

class StackLife {
 public:
  // The limit for each call of a target.
  static constexpr std::chrono::seconds kTimeout{30};

  StackLife() = default;
  // Finds all living targets of the tree.
  explicit StackLife(Target& root) { collect(root); }

  bool empty() const { return targets_.empty(); }

  // Starts the targets and attaches them to the control reactor. On failure the targets already
  // started are stopped again. ETIMEDOUT: a target took longer than kTimeout; ESTALE: a target is
  // smaller than when it was opened, or has other blocks.
  Result<void> start(ControlReactor& control);
  // Ends the jobs first.
  void stop(ControlReactor& control);

  // On failure the targets already attached are detached again.
  Task attach(Request& request, LifeCall& call);
  Task detach(Request& request, LifeCall& call);

  // The same as start() and stop(), as a part of another target's call on the control reactor
  // (ReplaceableChild). Jobs go to call.jobs.
  Task start_here(Request& request, LifeCall& call);
  Task stop_here(Request& request, LifeCall& call);

  // --- For a target that changes the tree below it while it is served, on the control reactor.
  // Adds a target that has been started and attached, above all others.
  void add_started(Target& target);
  // `next`, likewise, takes the place of a target that is stopped by the caller.
  void replace_started(Target& former, Target& next);
  // Moves all targets of the tree of `root` to `other`, which has none.
  void split_off(const Target& root, StackLife& other);

  Jobs& jobs() { return jobs_; }

  // Start and stop one target, only to read its geometry, while the tree is opened. Call for its
  // children first.
  Result<void> look_at(Target& target, ControlReactor& control);
  void end_look(ControlReactor& control, size_t kept);  // all but the first `kept`
  size_t started() const { return started_; }

 private:
  using Step = Task (Target::*)(Request&, LifeCall&);

  void collect(Target& target);
  Result<void> start_one(Target& target, ControlReactor& control, LifeCall::Purpose purpose);
  void stop_down_to(size_t kept, ControlReactor& control);
  void stop_one(Target& target, ControlReactor& control);
  static Result<void> perform(ControlReactor& control, Target& target, Step step, LifeCall call,
                              std::string_view verb);
  void note_jobs(const LifeCall& call, const std::vector<Job*>& before);
  Task detach_first(Request& request, LifeCall& call, size_t count);

  std::vector<Target*> targets_;  // children first
  size_t started_ = 0;            // of them
  std::vector<Job*> jobs_here_;   // started by start_here()
  Jobs jobs_;
};

}  // namespace sluice
