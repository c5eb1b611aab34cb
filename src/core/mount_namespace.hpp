// MountNamespace: the mount namespace and root directory in which a process resolves paths.
//
// A value for the control path. It keeps the namespace alive: destroy it at once after use, and
// never use it in a thread that serves requests.
#pragma once

#include <sys/types.h>

#include <functional>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

class MountNamespace {
 public:
  // ESRCH: the process has ended. EACCES: it may not be inspected.
  static Result<MountNamespace> of(pid_t process);
  // That of a process which has passed these descriptors: its namespace, and its root directory.
  static MountNamespace from(Descriptor mount_namespace, Descriptor root);

  // Runs `action` in this namespace, on a thread with a current directory of its own, and waits for
  // it. Error: the thread cannot enter the namespace, and `action` was not run.
  Result<void> run(const std::function<void()>& action) const;

  // Creates the thread of run() now, so that run() works even if no thread can be created later.
  // Between two actions it is in the namespace of the process's first thread; calling this again
  // moves it there. Only for a process in which a single thread calls run().
  static Result<void> keep_thread();

 private:
  bool enter() const;
  static void go_home();

  Descriptor mount_namespace_;
  Descriptor root_;  // the process's `/`, which in a chroot is not that of the namespace
};

}  // namespace sluice
