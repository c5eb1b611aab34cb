// Viewpoint: from where paths mean what they mean to a process: its mount namespace and its root.
//
// A value of the control path. It keeps the namespace alive. An empty one is where this process is.
#pragma once

#include <sys/types.h>

#include <functional>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

struct Viewpoint {
  // Empty where it cannot be had.
  static Viewpoint here();
  static Viewpoint of(pid_t process);

  // Runs `action` there and returns after it. In a thread of its own if that is elsewhere: only one
  // that shares nothing with the others may move. The Error: it cannot, and nothing was run.
  Result<void> run(const std::function<void()>& action) const;

  Descriptor mount_namespace;
  Descriptor root;  // what `/` is there: not that of the namespace, in a chroot

 private:
  bool is_elsewhere() const;
  bool go() const;
};

}  // namespace sluice
