// Target: a layer that serves requests: null, loop, stripe ...
//
// submit() is the entry point of every target, checked and non-virtual. It checks the range, splits
// requests at the target's limits and emulates what the target lacks (FUA, write zeroes), so that a
// target implements only its native operations, and a layer that only changes an offset is one
// line.
//
// A target is opened once, before any request, and is immutable afterwards unless it guards its
// state itself: every queue's thread calls it. It does not depend on the front end or on the kind
// of loan; data moves only through request.ring. A target that needs more than open files, such as
// a connection, is living: it is started and stopped, and attached to each reactor.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bare_file.hpp"
#include "core/error.hpp"
#include "core/fingerprint.hpp"
#include "core/geometry.hpp"
#include "core/health.hpp"
#include "core/task.hpp"
#include "ring/file_slot.hpp"

namespace sluice {

class Extents;
class StatusContexts;
struct ControlCall;
struct LifeCall;

class Target {
 public:
  using Children = std::vector<std::unique_ptr<Target>>;

  explicit Target(Children children = {}) : children_(std::move(children)) {}
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  virtual ~Target() = default;

  // Serves one request. Errors: EROFS, EOPNOTSUPP (discard where there is none), EINVAL (outside
  // the target, not aligned to its blocks, or with data of another length), and whatever the target
  // itself reports; EIO where it throws an exception.
  Task submit(Request& request);

  // Says what is data, hole or zero in the range of `request`, whose operation does not matter.
  // `found` is for this range, and empty; it has at least its beginning afterwards. What it says
  // may be outdated by a write at once. EINVAL: outside the target, or not aligned to its blocks.
  Task extents(Request& request, Extents& found);

  // --- Life, for living targets only, in the order that target/life/life_call.hpp tells. A failed
  // call undoes what it has done, and says why in call.fail(). None outlasts call.deadline.
  virtual bool is_living() const { return false; }
  // True if the target itself starts, attaches, detaches and stops its children (ReplaceableChild).
  virtual bool starts_children() const { return false; }
  // On the control reactor. Sets or checks the geometry, which stays what it is once requests have
  // come; starts jobs.
  virtual Task start(Request&, LifeCall&) { return kOk; }
  // On each reactor that will bring requests: makes what the target needs there (RingLocal).
  virtual Task attach(Request&, LifeCall&) { return kOk; }
  // On the same, when no request will come. An error is only logged: afterwards nothing is left.
  virtual Task detach(Request&, LifeCall&) { return kOk; }
  // On the control reactor: makes durable what the target holds. An error is only logged.
  virtual Task stop(Request&, LifeCall&) { return kOk; }
  // The device ends: what only waits for something outside, such as a server that may not answer,
  // fails soon from now on. Control path, while requests are in flight and before stop().
  virtual void note_end() {}

  // Carries out a verb of the target's type for the user (target/control_call.hpp).
  virtual Task control(Request&, ControlCall&) { return Status::from_errno(EOPNOTSUPP); }

  // What else than extents() it says of its parts. Null: nothing. Layers above do not pass it on.
  virtual StatusContexts* status_contexts() { return nullptr; }

  // Grows the target to `wanted` bytes, or to the current size of its backing; returns the new
  // size. Requests may be in flight. Control path, one call at a time. On failure the size does not
  // change, but some children may have grown. EINVAL: smaller, or no multiple of the blocks;
  // EOPNOTSUPP: this target cannot grow; ENOSPC, EFBIG ...
  Result<uint64_t> resize(std::optional<uint64_t> wanted);

  // True if nothing is left to do after a request's one I/O operation, so that the commit may be
  // linked to it. For a layer: true if it only forwards such a request, once, and does nothing
  // afterwards.
  virtual bool may_link() const { return false; }

  // Checks that another process can continue with the open files of the stack alone. EOPNOTSUPP:
  // this target has other state; ESTALE: a file has become smaller than the served part.
  virtual Result<void> check_handover() const { return {}; }
  // Sets whether this process owns the files. If another process shares them, this one must not
  // release their locks.
  virtual void own_files(bool) {}
  // Checks that opening the same spec after the death of this server yields the same data.
  // EOPNOTSUPP: the data is only in this process.
  virtual Result<void> check_recovery() const { return {}; }

  // The fingerprint of the target's file; nullopt for a target without a file.
  virtual Result<std::optional<Fingerprint>> fingerprint() const { return std::nullopt; }
  // Why a request may wait until memory is freed, which would deadlock if the device is swap space;
  // empty: none does. Call once opened.
  virtual std::string swap_risk() const;

  // The file that the target is, if it is nothing else: direct users of it see the same data.
  virtual std::optional<BareFile> bare_file() const { return std::nullopt; }

  // Its state and numbers, for users. Any thread, at any time. A target that changes its state
  // emits kHealthChanged (core/events.hpp), once.
  virtual Health health() const { return {}; }

  // The names of its children, in their order, if each is a disk of its own for clients and the
  // target itself is none; empty for all others.
  virtual std::vector<std::string> disk_names() const { return {}; }

  // Why this child could not be opened (target/missing.hpp); null: it could.
  virtual const Error* missing() const { return nullptr; }

  // The name shown to users: "stripe", "loop(disk.img)". Set before the first request.
  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }

  // The files that it has opened. They are closed at its end, after its children's.
  const std::vector<OpenFile>& files() const { return files_; }
  void own(std::vector<OpenFile> files) { files_ = std::move(files); }

  const Geometry& geometry() const { return geometry_; }
  const Children& children() const { return children_; }
  // Those of them that its spec may name, in that order; they may be a level further down.
  virtual std::vector<Target*> named_children() const;
  Target& child(size_t index) const { return *children_[index]; }

 protected:
  // Serves a request that conforms to the geometry: in range, aligned, within limits, with data if
  // read or write.
  virtual Task do_submit(Request& request) = 0;

  // Implements extents() after its checks. What is not found is data.
  virtual Task do_extents(Request& request, Extents& found);

  // Implements resize() after its checks. `wanted` is not below the present size.
  virtual Result<uint64_t> do_resize(std::optional<uint64_t> wanted);

  // Serves a write_zeroes request by writing zeroes, for a target that detects only at run time
  // that it has no native operation.
  Task write_zeroes_by_hand(Request& request);

  // Helpers for do_submit() of layers. A request is never modified after its creation, so one
  // request can be at several children at once.
  // Submits the same operation and data to one child, at another offset.
  Task forward(Request& request, Target& to, uint64_t offset);
  // Submits the same request to every child in parallel. submit() of a child without a volatile
  // cache answers a flush itself.
  Task submit_to_all(Request& request);

  // For a target that changes its own children while it is served: under tree_lock(), held
  // exclusively.
  Children& changing_children() { return children_; }

  // Set by the derived class while it is opened.
  Geometry geometry_;

 private:
  friend class ReplaceableChild;  // exchanges a child, under tree_lock()

  Status check(const Request& request) const;
  Task write_durably(Request& request);
  Task split(Request& request, uint64_t most_bytes);
  Task forward_moved(Request& request, Target& to, uint64_t offset);
  Status check_range(const Request& request) const;

  std::vector<OpenFile> files_;
  Children children_;
  std::string name_ = "target";
};

// The files of the target and of all below it that have slots, children first.
std::vector<RegisteredFile> registered_files_of(const Target& target);

// Calls Target::own_files() of the target and of all below it.
void own_files_of(Target& target, bool ours);

// Calls Target::note_end() of the target and of all below it.
void note_end_of(Target& target);

// The geometry that holds for all children; see combine().
Geometry common_geometry(const Target::Children& children);

}  // namespace sluice
