// Disk: what the clients of a front end read and write: a whole stack, or one of several disks that
// one stack offers (target `exports`).
//
// Owned by the Stack. submit() is called by every queue's thread. After a failed flush acknowledged
// data may be lost: from then on the disk refuses writes and flushes with EIO until its stack is
// opened again.
#pragma once

#include <atomic>
#include <string>
#include <utility>

#include "core/geometry.hpp"
#include "core/request.hpp"
#include "core/task.hpp"

namespace sluice {

class Target;

class Disk {
 public:
  Disk(std::string name, Target& target) : name_(std::move(name)), target_(target) {}
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // Serves one request of the front end, on a ring that is attached.
  Task submit(Request& request);
  // For a request that the front end serves in another way: logs it, if requests are logged.
  void trace(const Request& request) const;

  // Empty if the stack has no other disk.
  const std::string& name() const { return name_; }
  Target& target() const { return target_; }
  const Geometry& geometry() const;
  bool failed() const { return failed_.load(std::memory_order_relaxed); }
  // The previous server's disk had failed. Call before the first request.
  void note_failure() { failed_ = true; }
  // Logs every request on entry. Call before the first one.
  void trace_requests(bool trace) { trace_ = trace; }

 private:
  Task submit_durable(Request& request);

  const std::string name_;
  Target& target_;
  bool trace_ = false;
  std::atomic<bool> failed_ = false;
};

}  // namespace sluice
