// Stack: a tree of targets, and the disks that it offers: one, the tree itself, unless its root is
// of type `exports`.
//
// Opened from a Spec by the control path; submit() is called by every queue's thread. It owns the
// targets and the files they use.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "ring/file_slot.hpp"
#include "spec/json_value.hpp"
#include "spec/spec.hpp"
#include "target/disk.hpp"
#include "target/life/control_reactor.hpp"
#include "target/life/stack_life.hpp"
#include "target/target.hpp"

namespace sluice {

class OpenContext;

// A target of a stack, for users: "/1/0", "fault", "fault".
struct StackNode {
  std::string path;  // the numbers of the children on the way down; "/": the root
  std::string type;  // as in the spec
  std::string name;  // see Target::name()
};
struct MissingNode {  // one that could not be opened (target/missing.hpp)
  std::string path;
  Error why;
};

// The open files of a stack, from the process that opened the same spec, until it ends.
struct InheritedFiles {
  std::vector<Descriptor> files{};     // in the order of add_file() there
  std::vector<MissingNode> missing{};  // targets that have none
};

// For Stack::control().
struct ControlOptions {
  using Record = std::function<Result<void>(const Spec&)>;
  // Of the verb's children, in the order of Stack::files(); none: the paths are opened here.
  std::optional<std::vector<Descriptor>> files{};
  Record record{};  // makes a changed spec of the stack durable
};

class Stack {
 public:
  // Opens the targets from the leaves up; on failure nothing stays open. `force`: see OpenContext.
  static Result<std::unique_ptr<Stack>> open(const Spec& spec, bool read_only, bool force = false);
  // The same with files that another process has opened, or for clients that address bytes. The
  // locks of such files belong to the other process until own_files().
  static Result<std::unique_ptr<Stack>> open(const Spec& spec, OpenContext& context);
  // For tests and embedding: a tree built by the program.
  explicit Stack(std::unique_ptr<Target> root);
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack();

  // At least one.
  const std::vector<std::unique_ptr<Disk>>& disks() const { return disks_; }
  // For a front end that serves only one disk.
  Disk& disk() const { return *disks_.front(); }
  Task submit(Request& request) { return disk().submit(request); }

  // --- The life of living targets (target/life/); without one, none of this does anything. Between
  // start() and stop() the stack is attached to the reactors that bring requests, see Reactor.
  //
  // Control path; again after stop(). The Error: a target could not be started, and none is.
  Result<void> start();
  void stop();
  StackLife& life() { return life_; }
  const StackLife& life() const { return life_; }

  // Grows the root to `wanted` bytes, or to the current size of its backing, while requests are
  // served; returns the new size. See Target::resize(). Control path, one call at a time. The front
  // end notifies its client afterwards.
  Result<uint64_t> resize(std::optional<uint64_t> wanted);

  // See Target; for all targets.
  Result<void> check_handover() const;
  void own_files(bool ours);
  Result<void> check_recovery() const;

  // The targets in the order of the spec. Empty for a tree built by the program.
  std::vector<StackNode> nodes() const;
  // Those of them that could not be opened.
  std::vector<MissingNode> missing() const;
  // Has the target at `path` carry out `verb`, which has been checked against its type's verbs;
  // returns its answer. Control path, one call at a time. ENOENT: no such path.
  Result<JsonValue> control(std::string_view path, const Spec& verb, ControlOptions options = {});

  // The fingerprints of all files, in the order of the spec.
  Result<std::vector<Fingerprint>> fingerprints() const;
  // See Target::swap_risk(); for the whole stack.
  std::string swap_risk() const;
  // See Target; for the whole tree. Failed after a failed flush. Any thread.
  StackHealth health() const;
  // The maximum of kernel worker threads of a ring (WarmUp): one if the stack itself never waits
  // for memory, because starting a second one would allocate.
  uint32_t workers() const { return swap_risk().empty() ? 1 : 0; }

  // How long its reactors look for requests before they sleep (IdlePoll). Set it before any.
  void set_idle_poll(std::chrono::nanoseconds time) { idle_poll_ = time; }
  std::chrono::nanoseconds idle_poll() const { return idle_poll_; }
  // Opens the same stack again, with the present sizes. Empty for a tree built by the program.
  const Spec& spec() const { return spec_; }

  // See Disk; for all disks.
  void trace_requests(bool trace);

  const Geometry& geometry() const { return root_->geometry(); }
  // True if requests may carry a linked command: all targets of the tree allow it.
  bool may_link() const { return may_link_; }
  Target& root() const { return *root_; }
  // In the order in which the targets were opened: children first.
  std::vector<int> files() const;
  // Those of them that every ring which serves the stack registers.
  std::vector<RegisteredFile> registered_files() const;
  // True if a disk has failed.
  bool failed() const;
  // The numbers of those; empty if there is only one disk.
  std::vector<size_t> failed_disks() const;
  // See Disk; for these disks, or all if there are none.
  void note_failure(const std::vector<size_t>& disks = {});

 private:
  Result<Target::Children> open_children(std::string_view path, const Spec& verb,
                                         ControlOptions& options) const;
  Result<void> publish(std::string_view path, const Spec& own,
                       const ControlOptions::Record& record);

  std::unique_ptr<Target> root_;
  const std::vector<std::unique_ptr<Disk>> disks_;
  Spec spec_;
  const bool may_link_;
  std::chrono::nanoseconds idle_poll_{};
  bool outlives_server_ = false;  // see OpenContext
  StackLife life_;
  std::unique_ptr<ControlReactor> control_;  // while it is started
};

}  // namespace sluice
