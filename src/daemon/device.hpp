// Device: a front end serving a stack, with the record that says so.
//
// Several can live in one process. Used by the process's control thread, but for what says that any
// thread may call it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "daemon/frontends.hpp"
#include "daemon/handover_desk.hpp"
#include "daemon/state.hpp"
#include "spec/spec.hpp"
#include "target/stack.hpp"

namespace sluice {

struct ServeOptions {
  Spec spec;  // its paths are absolute
  bool read_only = false;
  FrontendOptions frontend;
  bool foreground = false;
  bool resume = false;      // with it: first look at what a dead server has left of the device
  uint32_t debug_mask = 0;  // kDebugRequests | kDebugDevice
};

inline constexpr uint32_t kDebugRequests = 1U << 0;  // every request, as it enters the stack
inline constexpr uint32_t kDebugDevice = 1U << 1;    // steps in the life of the device

class Device {
 public:
  // Opens the stack, claims an id and makes the front end; nothing is served yet.
  static Result<std::unique_ptr<Device>> add(const ServeOptions& options);
  // Takes over what a dead server has left, or what a living one has handed over. `record` is what
  // that one wrote.
  static Result<std::unique_ptr<Device>> take_over(const DeviceRecord& record, Handover handover);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  // Forgets a device that was added and never served.
  ~Device();

  // When this returns, the device can be opened and its record can be read.
  Result<void> serve();
  // The same for a device that was taken over from a living server: it could be opened all the
  // time.
  Result<void> serve_on();
  // Until nothing is served any more: stopped by us, deleted behind our back, or quiesced.
  void wait() { frontend_->wait(); }
  // Whether wait() has returned because another server is to have it.
  bool leaving() const { return desk_.requested(); }
  // After wait(), if leaving: lets another server have it. True when one does; false when none
  // came and the device is served here again. The Error: it is served by nobody.
  Result<bool> hand_over();
  // After wait(): gives back the id, and logs what was done.
  void remove();

  // --- What may come from any thread at any time: signals, the control socket.
  // While it is being handed over this is only noted, for whoever has the device afterwards.
  Result<void> stop();
  bool should_stop() const { return should_stop_; }
  Result<void> stop_unless_busy();
  // The size that it has now; none: as large as the backing has become.
  Result<uint64_t> resize(std::optional<uint64_t> size_bytes);
  // Makes wait() return and hand_over() the next step; returns what the next server, process
  // `successor`, needs. Without one the device is left to the kernel, until somebody recovers it:
  // EOPNOTSUPP where the kernel does not keep it.
  Result<Handover> request_handover(std::optional<int> successor);
  // The next server cannot: take the device back at once.
  Result<void> request_return();
  DeviceRecord record() const;
  // Empty while the device is being handed over.
  std::vector<QueueReport> reports() const;
  // Requests in flight, see daemon/in_flight_json.hpp.
  Result<nlohmann::json> in_flight() const;

  uint32_t id() const { return id_; }

 private:
  Device(std::unique_ptr<Stack> stack, DeviceRecord record);
  Result<void> make_frontend(const FrontendOptions& options);
  Result<void> open_again(Handover handover);
  Result<void> check_reopening(std::optional<int> successor) const;
  Result<void> take_back(Handover handover);
  Result<Handover> let_go();
  bool successor_came();
  Result<void> wait_until_openable() const;
  void note_server();
  void log_totals() const;

  // Guards the pointers and the record against those who may come at any time. Only the control
  // thread changes the pointers.
  mutable std::mutex mutex_;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Frontend> frontend_;
  DeviceRecord record_;
  uint32_t id_ = ublk::kAnyId;
  HandoverDesk desk_;
  std::optional<int> successor_;  // process; written before the control thread is woken for it
  bool claimed_ = false;          // the record is ours to remove
  bool served_ = false;
  std::atomic<bool> should_stop_ = false;
};

}  // namespace sluice
