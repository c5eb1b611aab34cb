// State files: the records of the devices, one JSON file per device in the state directory.
//
// Written atomically by the device's server, once to claim the id and again before it reports
// itself ready; removed when the device is gone. A record outlives a server that was killed, for
// recovery. Readers check who could have written the file, and each field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/fingerprint.hpp"
#include "core/health.hpp"
#include "daemon/process_life.hpp"
#include "daemon/state_directory.hpp"
#include "daemon/state_location.hpp"
#include "frontend/frontend_options.hpp"
#include "frontend/named_values.hpp"
#include "spec/spec.hpp"

namespace sluice {

class StateLock;

// QEMU's usual poll-max-ns: longer than most clients need for their next request.
inline constexpr uint32_t kUsualPollUs = 32;
inline constexpr uint32_t kPollMaxUs = 1'000'000;

struct DeviceRecord {
  uint32_t id = kAnyId;
  std::string name = {};  // given by the user; empty: none
  int pid = 0;
  uint64_t pid_started = 0;  // start time of `pid`, in clock ticks since boot
  std::string pid_scope;     // the scope of both, see process_scope()
  std::string frontend;      // its name, see FrontendType
  std::string path;          // that the user opens
  std::string at;            // the place that the user chose; empty: there is no choice
  NamedValues traces;        // see FrontendType::traces
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 0;  // logical
  Spec spec;
  std::vector<Fingerprint> files;  // of the stack, in order; none: not known
  bool read_only = false;
  bool forced = false;  // its files may be open in loop devices of the kernel
  uint16_t queues = 0;
  uint16_t depth = 0;
  uint32_t max_io_bytes = 0;
  std::optional<uint32_t> reserve_bytes;  // as requested
  std::string mode;                       // see Frontend::mode_name()
  std::string mode_reason;
  std::string recovery;  // none, wait, reissue, fail_io
  bool unprivileged = false;
  std::string
      user;  // whose rights its server has (--privilege-drop); empty: those that it began with
  uint32_t debug_mask = 0;
  uint32_t poll_us = kUsualPollUs;       // the longest time that a queue polls before it sleeps
  std::vector<std::string> swap_risks;   // see swap_risks()
  std::vector<int> threads;              // of the queues, in order; none: the device is being made
  HealthState health = HealthState::ok;  // of the stack, as of its last change
  std::string health_reason;             // empty: ok
};

std::string record_path(uint32_t id);
// The log of a server in the background, on a machine without a system log.
std::string log_path(uint32_t id);
// The socket of the device's server (ControlSocket).
std::string control_path(uint32_t id);

Result<void> write_record(const DeviceRecord& record);
// The same in two steps: write() makes the new file, publish() renames it over the old one.
class RecordDraft {
 public:
  static Result<RecordDraft> write(const DeviceRecord& record);
  RecordDraft(RecordDraft&& other) noexcept;
  RecordDraft& operator=(RecordDraft&& other) noexcept;
  // Removes the file if it was not published.
  ~RecordDraft();
  Result<void> publish();

 private:
  RecordDraft(StateDirectory directory, std::string draft, uint32_t id)
      : directory_(std::move(directory)), draft_(std::move(draft)), id_(id) {}

  StateDirectory directory_;
  std::string draft_;  // its name; empty after publish()
  uint32_t id_;
};
// ENOENT: Sluice does not serve that device. EBADMSG: its record cannot be used, with the reason.
Result<DeviceRecord> read_record(uint32_t id);
// Removes the record, the log and the socket, unless the device has another server by now. Takes
// the StateLock to remove the record of another server, or files whose record is gone already.
Result<void> remove_record(const DeviceRecord& record);
// The same for a caller that holds the StateLock.
Result<void> remove_record(const DeviceRecord& record, const StateLock& held);
// Removes a record for which read_record() returns EBADMSG.
Result<void> remove_unusable_record(uint32_t id);
// Call before a log is opened: creates the file unless it exists, and replaces a foreign file.
void make_log_file(const std::string& path);

struct UnusableRecord {
  uint32_t id = kAnyId;
  Error why;
};
// Both sorted by id. No directory: no records.
struct StateFiles {
  std::vector<DeviceRecord> records;
  std::vector<UnusableRecord> unusable;
};
// Error: the directory cannot be used.
Result<StateFiles> read_state_files();
// Only the usable records.
std::vector<DeviceRecord> read_records();

std::string to_json(const DeviceRecord& record);
// EBADMSG; the text is only the reason.
Result<DeviceRecord> record_from_json(std::string_view text);

bool is_same_server(const DeviceRecord& one, const DeviceRecord& other);
// The mark of its server. The pid may be used only if life_of() returns alive.
ProcessMark mark_of(const DeviceRecord& record);
// `unknown` must be treated like alive: no other server may take the device.
Life server_life(const DeviceRecord& record);
bool server_alive(const DeviceRecord& record);  // or unknown
// True if neither a server nor anything in the kernel belongs to the device any more.
bool is_stale(const DeviceRecord& record);

}  // namespace sluice
