// Clerk: the helper process of a server that gives up root's rights (--privilege-drop). It keeps
// them, and does with the files of this one device what the server no longer may.
//
// A server that strangers have taken over can ask it for no more than that: to change in the record
// what may change while a device is served, to remove the device, to add events and log lines of
// this device. It names no process and no path; those of the record are as they were when the
// server had its rights. The clerk ignores SIGTERM, ends with its server, and removes nothing by
// itself.
//
// Any thread; one request at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "daemon/device_event.hpp"
#include "daemon/state.hpp"
#include "spec/json_value.hpp"

namespace sluice {

class Clerk {
 public:
  // Starts that of this process, in this thread's mount namespace. Before there are other threads.
  static Result<void> hire(const DeviceRecord& record);
  // Null: this process has none, and needs none.
  static Clerk* hired();
  // The same from take_charge() on: who wants to read or write state asks it.
  static Clerk* in_charge();
  Clerk(const Clerk&) = delete;
  Clerk& operator=(const Clerk&) = delete;
  ~Clerk() = default;

  // The record as it is: from now on little of it changes.
  Result<void> take_charge(const DeviceRecord& record);

  Result<void> write_record(const DeviceRecord& record);
  // Of this device, of any server.
  Result<DeviceRecord> read_record();
  // Its record, log and control socket, and what clear_remains() removes.
  Result<void> remove_device();
  // Tells the next server, if there is one, to end.
  Result<void> end_next_server();
  Result<void> append_event(const DeviceEvent& event);
  Result<void> write_log(std::chrono::system_clock::time_point time, int level,
                         std::string_view text);

 private:
  Clerk() = default;
  Result<JsonValue> ask(const JsonValue& request);
  Result<void> order(const JsonValue& request);

  std::mutex mutex_;
  Descriptor socket_;     // none: the clerk has died
  std::string received_;  // after the last line
};

}  // namespace sluice
