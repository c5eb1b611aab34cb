// Stack: a tree of targets with one entry.
//
// Opened from a Spec by the control path; submit() is called by every queue's thread. It owns the
// targets and the files they use. After a failed flush what was acknowledged may be gone: from then
// on the stack refuses writes and flushes with EIO until it is opened again.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "spec/spec.hpp"
#include "target/target.hpp"

namespace sluice {

class Stack {
 public:
  // Opens the targets from the leaves up; on failure nothing stays open.
  static Result<std::unique_ptr<Stack>> open(const Spec& spec, bool read_only);
  // For tests and embedding: a tree that was made by hand.
  Stack(std::unique_ptr<Target> root, std::vector<int> files);
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack();

  // Serves one request of the front end.
  Task submit(Request& request);

  // Makes the root `wanted` bytes large, or as large as what it stands on has become, while
  // requests are served; returns its size. See Target::resize(). The control path, one call at a
  // time. The front end tells its client afterwards.
  Result<uint64_t> resize(std::optional<uint64_t> wanted);

  // See Target::check_reopening(); of all targets.
  Result<void> check_reopening() const;

  // What was opened, with the sizes that resize() has changed: it opens the same again. Empty for a
  // tree that was made by hand.
  const Spec& spec() const { return spec_; }

  // Logs every request as it comes in. Before the first one.
  void trace_requests(bool trace) { trace_ = trace; }

  const Geometry& geometry() const { return root_->geometry(); }
  // Whether requests may carry a follower: all targets of the tree allow it.
  bool may_link() const { return may_link_; }
  Target& root() const { return *root_; }
  // What every ring that serves this stack registers, in this order.
  std::span<const int> files() const { return files_; }
  bool failed() const { return failed_.load(std::memory_order_relaxed); }

 private:
  Task submit_durable(Request& request);

  std::unique_ptr<Target> root_;
  Spec spec_;
  std::vector<int> files_;
  const bool may_link_;
  bool trace_ = false;
  std::atomic<bool> failed_ = false;
};

}  // namespace sluice
