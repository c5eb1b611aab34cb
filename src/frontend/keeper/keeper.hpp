// Keeper: the helper process that makes all calls that may block on the server's own device: it
// mounts and unmounts, has the loop device open, and aborts the FUSE connection when the server
// dies.
//
// A server never makes a call that waits for its own requests: if it were killed in such a call,
// neither it nor the users of the device could end. The keeper has no part in the connection to the
// kernel, so its calls end with the server. It notices the death of the control thread at once,
// even if other threads of the server hang. It ignores SIGTERM, and ends with its server.
//
// Started by the control thread, and used by it only.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "frontend/keeper/life_line.hpp"
#include "spec/json_value.hpp"

namespace sluice {

class Keeper {
 public:
  static constexpr std::chrono::seconds kTimeout{30};  // for calls that write no data back

  // Starts a process of this program. It stays in this thread's mount namespace until join_us().
  static Result<std::unique_ptr<Keeper>> start();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;
  // Tells it to end, and waits for a moment.
  ~Keeper();

  // Makes it enter the mount namespace of this process, and watch this thread; if armed, it aborts
  // the FUSE connection when the thread ends. `abort` is the descriptor of a fuse::Connection, if
  // any.
  Result<void> join_us(std::optional<int> abort, bool armed);

  // Makes it execute `request`, see keeper_process.cpp, with copies of `descriptors`. Errors: those
  // of the keeper; ETIMEDOUT: no answer yet, a later one is ignored; EPIPE: it has died.
  Result<JsonValue> ask(const JsonValue& request, std::span<const int> descriptors = {},
                        std::chrono::milliseconds timeout = kTimeout);
  // The same for requests that may write much data back: waits as long as `progress` grows, and
  // kTimeout longer.
  Result<JsonValue> ask_patiently(const JsonValue& request,
                                  const std::function<uint64_t()>& progress);

  // True if it responds; otherwise it has died.
  bool answers();
  // True if it still runs.
  bool alive();
  pid_t process() const { return process_; }

 private:
  Keeper() = default;
  Result<void> begin(const JsonValue& request, std::span<const int> descriptors);
  Result<JsonValue> finish(std::chrono::milliseconds timeout);

  Descriptor socket_;
  LifeLine life_line_;
  pid_t process_ = -1;
  uint64_t asked_ = 0;
};

}  // namespace sluice
