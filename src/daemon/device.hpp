// Device: a front end serving a stack, with the record that says so.
//
// Several can live in one process. Used by the process's control thread, but for stop() and
// report(), which any thread may call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/error.hpp"
#include "daemon/frontends.hpp"
#include "daemon/state.hpp"
#include "spec/spec.hpp"
#include "target/stack.hpp"

namespace sluice {

struct ServeOptions {
  Spec spec;  // its paths are absolute
  bool read_only = false;
  FrontendOptions frontend;
  bool foreground = false;
  uint32_t debug_mask = 0;  // kDebugRequests | kDebugDevice
};

inline constexpr uint32_t kDebugRequests = 1U << 0;  // every request, as it enters the stack
inline constexpr uint32_t kDebugDevice = 1U << 1;    // steps in the life of the device

class Device {
 public:
  // Opens the stack, claims an id and makes the front end; nothing is served yet.
  static Result<std::unique_ptr<Device>> add(const ServeOptions& options);
  // Takes over what a dead server has left. `record` is what that one wrote.
  static Result<std::unique_ptr<Device>> recover(const DeviceRecord& record);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  // Forgets a device that was added and never served.
  ~Device();

  // When this returns, the device can be opened and its record can be read.
  Result<void> serve();
  // Until it is gone: stopped by us, or deleted behind our back.
  void wait() { frontend_->wait(); }
  Result<void> stop() { return frontend_->stop(); }
  // After wait(): gives back the id, and logs what was done.
  void remove();

  uint32_t id() const { return record_.id; }
  const DeviceRecord& record() const { return record_; }
  // Alive until remove().
  const Frontend& frontend() const { return *frontend_; }
  const Stack& stack() const { return *stack_; }

 private:
  Device(std::unique_ptr<Stack> stack, DeviceRecord record);
  Result<void> make_frontend(const FrontendOptions& options);
  Result<void> wait_until_openable() const;
  void note_server();
  void log_totals() const;

  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Frontend> frontend_;
  DeviceRecord record_;
  bool claimed_ = false;  // the record is ours to remove
  bool served_ = false;
};

}  // namespace sluice
