// State files: what each running device is, one JSON file per device under /run/sluice (or
// $XDG_RUNTIME_DIR/sluice without privilege; $SLUICE_STATE_DIR overrides both).
//
// Written atomically by the device's server, once to claim the id and again before it reports
// itself ready; removed when the device is gone. A record outlives a server that was killed: it is
// what recovery reads back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "frontend/ublk/device.hpp"
#include "spec/spec.hpp"

namespace sluice {

struct DeviceRecord {
  uint32_t id = ublk::kAnyId;
  int pid = 0;
  uint64_t pid_started = 0;  // start time of `pid`, in clock ticks since boot
  std::string frontend;      // ublk, loop, fuse
  std::string path;          // what the user opens
  std::string at;            // fuse: what was asked for
  bool made = false;         // ... and was not there before
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 0;  // logical
  Spec spec;
  bool read_only = false;
  uint16_t queues = 0;
  uint16_t depth = 0;
  uint32_t max_io_bytes = 0;
  std::string mode;  // see Frontend::mode_name()
  std::string mode_reason;
  std::string recovery;  // none, wait, reissue, fail_io
  bool unprivileged = false;
  uint32_t debug_mask = 0;
  std::vector<int> threads;  // of the queues, in order; none: it is being made
};

std::string state_directory();
std::string record_path(uint32_t id);
// Where a server without a terminal leaves its log when the machine has no system log.
std::string log_path(uint32_t id);
// Where its server can be asked (ControlSocket).
std::string control_path(uint32_t id);

Result<void> write_record(const DeviceRecord& record);
// ENOENT: we do not serve that device.
Result<DeviceRecord> read_record(uint32_t id);
void remove_record(uint32_t id);
// All of them that can be read, by id.
std::vector<DeviceRecord> read_records();

std::string to_json(const DeviceRecord& record);
Result<DeviceRecord> record_from_json(std::string_view text);

// Start time of a process as the kernel counts it, or nothing when it is gone. With it a process
// number that was given out again is told from the old one.
std::optional<uint64_t> process_start_time(int pid);
bool server_alive(const DeviceRecord& record);
// Neither a server, nor a device of the ublk driver, nor a mount belongs to it any more.
bool is_stale(const DeviceRecord& record);

}  // namespace sluice
