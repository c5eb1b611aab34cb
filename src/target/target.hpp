// Target: a layer that serves requests: null, loop, stripe ...
//
// Everyone comes in through one checked, non-virtual door, submit(). It asserts the range, splits
// at the limits the target declares and emulates what the target lacks (FUA, write zeroes), so that
// a target implements exactly what it is good at, and that a layer that only changes an offset is
// one line.
//
// A target is opened once, before any request, and is immutable afterwards unless it guards its
// state itself: every queue's thread calls it. It never knows which front end it serves nor how the
// data of a request is lent; data moves only through request.ring.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/geometry.hpp"
#include "core/task.hpp"

namespace sluice {

class Target {
 public:
  using Children = std::vector<std::unique_ptr<Target>>;

  explicit Target(Children children = {}) : children_(std::move(children)) {}
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  virtual ~Target() = default;

  // Serves one request. Errors: EROFS, EOPNOTSUPP (discard where there is none), EINVAL (outside
  // the target or not aligned to its blocks), and whatever the target itself reports.
  Task submit(Request& request);

  // Makes the target `wanted` bytes large, or without that as large as what it stands on has
  // become; returns its size. While requests are served, by the control path, one call at a time. A
  // target never becomes smaller. Where it fails the size stays; a part of the children may have
  // grown. EINVAL: smaller, or no multiple of the blocks; EOPNOTSUPP: not this target; ENOSPC,
  // EFBIG ...
  Result<uint64_t> resize(std::optional<uint64_t> wanted);

  // Whether a request that one operation serves whole is done with that operation, so that the
  // operation may take the request's follower. A layer says so if it only passes such a request on,
  // once, and does nothing afterwards.
  virtual bool may_link() const { return false; }

  // Whether who opens the same spec, from where this thread looks at files, serves the same data:
  // another process that takes over, or this one that takes back. ESTALE: a file is not there any
  // more, or another one is; EOPNOTSUPP: the data is nowhere else.
  virtual Result<void> check_reopening() const { return {}; }

  // As it is shown to users: "stripe", "loop(disk.img)".
  const std::string& name() const { return name_; }
  // Before the first request.
  void set_name(std::string name) { name_ = std::move(name); }

  const Geometry& geometry() const { return geometry_; }
  const Children& children() const { return children_; }
  Target& child(size_t index) const { return *children_[index]; }

 protected:
  // Gets only what the geometry allows: in range, aligned, within limits, with data where there
  // should be.
  virtual Task do_submit(Request& request) = 0;

  // What resize() comes to when that can be asked for: the size that the target can have from now
  // on. `wanted` is not below the present size.
  virtual Result<uint64_t> do_resize(std::optional<uint64_t> wanted);

  // Serves a write_zeroes request by writing zeroes, for a target that only finds out at run time
  // that it has nothing better.
  Task write_zeroes_by_hand(Request& request);

  // What do_submit() of a layer is mostly made of. Nobody changes a request that another made, so
  // that one request can be at several children at once.
  //
  // The same operation, data included, on one child, at another offset there.
  Task forward(Request& request, Target& to, uint64_t offset);
  // The very same request on every child in parallel. Children without a volatile cache have
  // answered a flush at their door.
  Task submit_to_all(Request& request);

  // Set by the derived class while it is opened.
  Geometry geometry_;

 private:
  Status check(const Request& request) const;
  Task write_durably(Request& request);
  Task split(Request& request, uint64_t most_bytes);
  Task forward_moved(Request& request, Target& to, uint64_t offset);

  Children children_;
  std::string name_ = "target";
};

// What holds for every one of them; see combine().
Geometry common_geometry(const Target::Children& children);

}  // namespace sluice
