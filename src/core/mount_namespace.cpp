#include "core/mount_namespace.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "core/thread.hpp"

namespace sluice {
namespace {

constexpr const char* kThreadName = "sluice-travel";

// A thread that runs actions, one at a time, and never ends.
class Traveller {
 public:
  Result<void> start();
  // Returns when the action is done.
  void run(const std::function<void()>& task);

 private:
  void serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* task_ = nullptr;
};

Result<void> Traveller::start() {
  auto thread = start_thread(kThreadName, [this] { serve(); });
  if (!thread) return std::unexpected(thread.error());
  thread->detach();
  return {};
}

void Traveller::run(const std::function<void()>& task) {
  std::unique_lock lock(mutex_);
  task_ = &task;
  changed_.notify_all();
  changed_.wait(lock, [this] { return task_ == nullptr; });
}

void Traveller::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return task_ != nullptr; });
    (*task_)();
    task_ = nullptr;
    changed_.notify_all();
  }
}

Traveller* traveller = nullptr;  // see keep_thread()

}  // namespace

Result<MountNamespace> MountNamespace::of(pid_t process) {
  MountNamespace found;
  const std::string mounts = fmt::format("/proc/{}/ns/mnt", process);
  const std::string root = fmt::format("/proc/{}/root", process);
  found.mount_namespace_ = Descriptor(open(mounts.c_str(), O_RDONLY | O_CLOEXEC));
  found.root_ = Descriptor(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (found.mount_namespace_.valid() && found.root_.valid()) return found;
  return fail(errno, fmt::format("cannot open the mount namespace of process {}: {}", process,
                                 std::strerror(errno)));
}

MountNamespace MountNamespace::from(Descriptor mount_namespace, Descriptor root) {
  MountNamespace passed;
  passed.mount_namespace_ = std::move(mount_namespace);
  passed.root_ = std::move(root);
  return passed;
}

Result<void> MountNamespace::run(const std::function<void()>& action) const {
  Result<void> went;
  const auto trip = [&] {
    if (enter()) {
      action();
    } else {
      went = fail(errno,
                  fmt::format("cannot enter another mount namespace: {}", std::strerror(errno)));
    }
  };
  if (traveller != nullptr) {
    traveller->run(trip);
    traveller->run(go_home);
    return went;
  }
  auto thread = start_thread(kThreadName, trip);
  if (!thread) return std::unexpected(thread.error());
  thread->join();
  return went;
}

Result<void> MountNamespace::keep_thread() {
  if (traveller == nullptr) {
    auto started = std::make_unique<Traveller>();
    if (auto begun = started->start(); !begun) return begun;
    traveller = started.release();
  }
  traveller->run(go_home);
  return {};
}

void MountNamespace::go_home() {
  const auto home = of(getpid());
  [[maybe_unused]] const bool there = home && home->enter();
}

// Only a thread that shares no file system context with others may call setns(). setns() also
// leaves a chroot, which changes how paths resolve; if setns() is not permitted it may not be
// needed.
bool MountNamespace::enter() const {
  if (unshare(CLONE_FS) != 0) return false;
  const bool there = setns(mount_namespace_.number(), CLONE_NEWNS) == 0;
  if (there) return fchdir(root_.number()) == 0 && chroot(".") == 0;
  return errno == EPERM && fchdir(root_.number()) == 0;
}

}  // namespace sluice
