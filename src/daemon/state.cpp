#include "daemon/state.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "daemon/clerk.hpp"
#include "daemon/device_name.hpp"
#include "daemon/frontends.hpp"
#include "daemon/record_fields.hpp"
#include "daemon/socket_address.hpp"
#include "daemon/state_lock.hpp"
#include "daemon/state_names.hpp"
#include "frontend/no_such_device.hpp"
#include "frontend/registry.hpp"
#include "spec/json_value.hpp"
#include "spec/shown.hpp"
#include "target/registry.hpp"

namespace sluice {
namespace {

constexpr size_t kRecordBytesMax = 4 << 20;
constexpr uint32_t kBlockBytesMax = 1 << 20;

std::string path_in_state(const std::string& name) {
  return fmt::format("{}/{}", state_directory(), name);
}

std::unexpected<Error> cannot_write(uint32_t id, const Error& why) {
  return fail(why.error,
              fmt::format("cannot write the state file {}: {}", record_path(id), why.text));
}

std::unexpected<Error> no_record(uint32_t id) {
  const FrontendType* const type = find_in_kernel(id);
  if (type == nullptr) return fail(ENOENT, no_such_device(id).text);
  return fail(ENOENT, fmt::format("device {} ({}) is not one that sluice serves: there is no state "
                                  "file {}",
                                  id, type->numbers->path(id), record_path(id)));
}

Result<DeviceRecord> parse_record(uint32_t id, std::string_view text) {
  auto record = record_from_json(text);
  if (record && record->id != id) {
    return fail(EBADMSG, fmt::format("it is that of device {}", record->id));
  }
  return record;
}

Result<DeviceRecord> read_record_in(const StateDirectory& directory, uint32_t id) {
  const auto text = directory.read(record_name(id), kRecordBytesMax);
  if (!text && text.error().error == ENOENT) return no_record(id);
  auto record = text ? parse_record(id, *text) : std::unexpected(text.error());
  if (record) return record;
  const Error& why = record.error();
  const std::string advice = why.error == EBADMSG ? fmt::format("'sluice del -n {}' removes it", id)
                                                  : std::string("see who may read it");
  return fail(why.error, fmt::format("the state file {} cannot be used ({}): {}", record_path(id),
                                     why.text, advice));
}

// The record last: while it exists, no other device takes the number and with it these names.
Result<void> remove_files(const StateDirectory& directory, uint32_t id) {
  for (const std::string& name : names_beside_record(id)) directory.remove(name);
  if (directory.remove(record_name(id))) return {};
  return fail(errno, fmt::format("cannot remove the state file {}: {}", record_path(id),
                                 std::strerror(errno)));
}

// Does nothing if the device has another server by now, or is gone.
Result<void> remove_if_same(const DeviceRecord& record) {
  const auto directory = StateDirectory::open();
  if (!directory && directory.error().error == ENOENT) return {};
  if (!directory) return std::unexpected(directory.error());
  const auto found = read_record_in(*directory, record.id);
  if (!found || !is_same_server(*found, record)) return {};
  return remove_files(*directory, record.id);
}

// For a server whose process cannot be seen from here: only a living server listens.
Life life_by_socket(const DeviceRecord& record) {
  switch (try_to_connect(control_path(record.id))) {
    case 0:
    case EAGAIN:  // too many clients wait
      return Life::alive;
    case ECONNREFUSED:
      return Life::dead;
    case ENOENT: {  // a server removes its record last
      const auto found = read_record(record.id);
      const bool gone = found ? !is_same_server(*found, record) : found.error().error == ENOENT;
      return gone ? Life::dead : Life::unknown;
    }
    default:
      return Life::unknown;
  }
}

JsonValue files_to_json(const std::vector<Fingerprint>& files) {
  JsonValue array = JsonValue::array();
  for (const Fingerprint& file : files) {
    array.push_back({{"is", file.is}, {"born_ns", file.born_ns}, {"target", file.target}});
  }
  return array;
}

void read_files(RecordFields& fields, std::vector<Fingerprint>& files) {
  const JsonValue* const found = fields.find("files", Presence::optional);
  if (found == nullptr) return;
  if (!found->is_array()) return fields.refuse("its files are no list");
  try {
    for (const JsonValue& file : found->items) {
      files.push_back({.is = file.at("is").get<std::string>(),
                       .born_ns = file.at("born_ns").get<int64_t>(),
                       .target = file.value("target", std::string())});
    }
  } catch (const JsonMismatch&) {
    fields.refuse("one of its files has no 'is' or no 'born_ns'");
  }
}

// The record of a stack that is ok has no health.
void read_health(RecordFields& fields, DeviceRecord& record) {
  std::string health(to_string(HealthState::ok));
  fields.text("health", health, Presence::optional);
  fields.text("health_reason", record.health_reason, Presence::optional);
  const auto* const state = std::ranges::find(
      kHealthStates, health, [](HealthState each) { return std::string(to_string(each)); });
  if (state == std::end(kHealthStates)) return fields.refuse("its health is none that there is");
  record.health = *state;
}

// Traces are members of the record like all others.
JsonValue trace_json(const OptionValue& trace) {
  if (const auto* const flag = std::get_if<bool>(&trace)) return *flag;
  if (const auto* const number = std::get_if<uint64_t>(&trace)) return *number;
  return bytes_json(std::get<std::string>(trace));
}

// Older servers, and servers that are making the device, do not write all traces.
void read_traces(RecordFields& fields, std::span<const FrontendTrace> known, NamedValues& traces) {
  for (const FrontendTrace& each : known) {
    if (fields.find(each.name, Presence::optional) == nullptr) continue;
    OptionValue value;
    if (each.kind == OptionKind::flag) {
      fields.flag(each.name, value.emplace<bool>());
    } else if (each.kind == OptionKind::count) {
      fields.number(each.name, value.emplace<uint64_t>(), 0, UINT64_MAX);
    } else {
      fields.text(each.name, value.emplace<std::string>());
    }
    traces.set(each.name, std::move(value));
  }
}

}  // namespace

std::string record_path(uint32_t id) { return path_in_state(record_name(id)); }

std::string log_path(uint32_t id) { return path_in_state(log_name(id)); }

std::string control_path(uint32_t id) { return path_in_state(socket_name(id)); }

Result<void> write_record(const DeviceRecord& record) {
  if (Clerk* const clerk = Clerk::in_charge()) return clerk->write_record(record);
  auto draft = RecordDraft::write(record);
  return draft ? draft->publish() : std::unexpected(draft.error());
}

Result<RecordDraft> RecordDraft::write(const DeviceRecord& record) {
  auto directory = StateDirectory::make();
  if (!directory) return std::unexpected(directory.error());
  auto draft = directory->draft(record_name(record.id), to_json(record) + "\n");
  if (!draft) return cannot_write(record.id, draft.error());
  return RecordDraft(std::move(*directory), std::move(*draft), record.id);
}

RecordDraft::RecordDraft(RecordDraft&& other) noexcept
    : directory_(std::move(other.directory_)),
      draft_(std::exchange(other.draft_, {})),
      id_(other.id_) {}

RecordDraft& RecordDraft::operator=(RecordDraft&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(draft_, other.draft_);
  std::swap(id_, other.id_);
  return *this;
}

RecordDraft::~RecordDraft() {
  if (!draft_.empty()) directory_.remove(draft_);
}

Result<void> RecordDraft::publish() {
  auto published = directory_.publish(std::exchange(draft_, {}), record_name(id_));
  return published ? published : cannot_write(id_, published.error());
}

Result<DeviceRecord> read_record(uint32_t id) {
  if (Clerk* const clerk = Clerk::in_charge()) return clerk->read_record();
  const auto directory = StateDirectory::open();
  if (directory) return read_record_in(*directory, id);
  if (directory.error().error == ENOENT) return no_record(id);
  return std::unexpected(directory.error());
}

Result<void> remove_record(const DeviceRecord& record) {
  if (Clerk* const clerk = Clerk::in_charge()) return clerk->remove_device();
  const bool own = record.pid == getpid() && counts_as_here(mark_of(record));
  // No other device takes the number of a living server. Go on if the lock cannot be taken: only
  // its holder could take the number.
  std::optional<Result<StateLock>> lock;
  const auto found = read_record(record.id);
  if (!own && found && is_same_server(*found, record)) lock.emplace(StateLock::take());
  // A command that took this server for dead was quicker, possibly before this server's log was
  // made. Taking the lock removes files without a record.
  if (!found && found.error().error == ENOENT && StateDirectory::open()) {
    lock.emplace(StateLock::take());
  }
  return remove_if_same(record);
}

Result<void> remove_record(const DeviceRecord& record, const StateLock& /*held*/) {
  return remove_if_same(record);
}

Result<void> remove_unusable_record(uint32_t id) {
  const auto directory = StateDirectory::open();
  if (!directory) return std::unexpected(directory.error());
  const auto lock = StateLock::take();
  if (!lock) return std::unexpected(lock.error());
  const auto found = read_record_in(*directory, id);
  if (found || found.error().error != EBADMSG) return {};
  return remove_files(*directory, id);
}

void make_log_file(const std::string& path) {
  const auto directory = StateDirectory::open();
  const std::string name = path.substr(path.rfind('/') + 1);
  if (!directory || directory->open_file(name)) return;
  directory->remove(name);
  [[maybe_unused]] const auto made = directory->open_file(name);
}

Result<StateFiles> read_state_files() {
  StateFiles files;
  if (Clerk* const clerk = Clerk::in_charge()) {  // shows its own device only
    auto record = clerk->read_record();
    if (!record) return std::unexpected(record.error());
    files.records.push_back(std::move(*record));
    return files;
  }
  const auto directory = StateDirectory::open();
  if (!directory && directory.error().error == ENOENT) return files;
  if (!directory) return std::unexpected(directory.error());
  for (const std::string& name : directory->names()) {
    const auto id = id_of_record(name);
    if (!id) continue;
    auto record = read_record_in(*directory, *id);
    if (record) {
      files.records.push_back(std::move(*record));
    } else if (record.error().error != ENOENT) {
      files.unusable.push_back({.id = *id, .why = std::move(record.error())});
    }
  }
  std::ranges::sort(files.records, {}, &DeviceRecord::id);
  std::ranges::sort(files.unusable, {}, &UnusableRecord::id);
  return files;
}

std::vector<DeviceRecord> read_records() {
  auto files = read_state_files();
  return files ? std::move(files->records) : std::vector<DeviceRecord>();
}

std::string to_json(const DeviceRecord& record) {
  JsonValue value = {
      {"id", record.id},
      {"name", record.name},
      {"pid", record.pid},
      {"pid_started", record.pid_started},
      {"pid_scope", record.pid_scope},
      {"frontend", record.frontend},
      {"path", bytes_json(record.path)},
      {"at", bytes_json(record.at)},
      {"size_bytes", record.size_bytes},
      {"block_bytes", record.block_bytes},
      {"spec", spec_json(record.spec, target_vocabulary())},
      {"files", files_to_json(record.files)},
      {"read_only", record.read_only},
      {"forced", record.forced},
      {"queues", record.queues},
      {"depth", record.depth},
      {"max_io_bytes", record.max_io_bytes},
      {"mode", record.mode},
      {"mode_reason", bytes_json(record.mode_reason)},
      {"recovery", record.recovery},
      {"unprivileged", record.unprivileged},
      {"debug_mask", record.debug_mask},
      {"poll_us", record.poll_us},
      {"threads", record.threads},
      {"swap_risks", record.swap_risks},
  };
  for (const auto& [name, trace] : record.traces.all()) value.set(name, trace_json(trace));
  if (!record.user.empty()) value.set("user", record.user);
  if (record.reserve_bytes) value.set("reserve_bytes", *record.reserve_bytes);
  if (record.health != HealthState::ok) {
    value.set("health", to_string(record.health));
    value.set("health_reason", bytes_json(record.health_reason));
  }
  return to_indented_text(value, 2);
}

Result<DeviceRecord> record_from_json(std::string_view text) {
  auto fields = RecordFields::parse(text);
  if (!fields) return std::unexpected(fields.error());
  DeviceRecord record;
  fields->number("id", record.id, 0, kDeviceIdMax);
  fields->text("name", record.name, Presence::optional);
  fields->process("pid", record.pid);
  fields->number("pid_started", record.pid_started, 0, UINT64_MAX);
  fields->text("pid_scope", record.pid_scope, Presence::optional);
  fields->text("frontend", record.frontend);
  fields->text("path", record.path);
  fields->text("at", record.at);
  fields->number("size_bytes", record.size_bytes, 0, INT64_MAX);
  fields->number("block_bytes", record.block_bytes, 1, kBlockBytesMax);
  fields->flag("read_only", record.read_only);
  fields->flag("forced", record.forced, Presence::optional);
  read_files(*fields, record.files);
  fields->number("queues", record.queues, 1, kQueuesMax);
  fields->number("depth", record.depth, 1, kQueueDepthMax);
  fields->number("max_io_bytes", record.max_io_bytes, 1, kIoBytesMax);
  fields->text("mode", record.mode);
  fields->text("mode_reason", record.mode_reason);
  fields->text("recovery", record.recovery);
  fields->flag("unprivileged", record.unprivileged);
  fields->text("user", record.user, Presence::optional);
  fields->number("debug_mask", record.debug_mask, 0, UINT32_MAX);
  fields->number("poll_us", record.poll_us, 0, kPollMaxUs, Presence::optional);
  fields->processes("threads", record.threads, kQueuesMax);
  fields->texts("swap_risks", record.swap_risks, Presence::optional);
  fields->number("reserve_bytes", record.reserve_bytes, 0, UINT32_MAX);
  read_health(*fields, record);
  if (const JsonValue* const spec = fields->find("spec")) {
    auto parsed = parse_spec(to_text(*spec), target_vocabulary());
    if (!parsed) fields->refuse(fmt::format("of its spec, {}", parsed.error().text));
    if (parsed) record.spec = std::move(*parsed);
  }
  if (const auto named = check_name(record.name); !record.name.empty() && !named) {
    fields->refuse(named.error().text);
  }
  if (!std::has_single_bit(record.block_bytes)) fields->refuse("its block_bytes is no power of 2");
  if (const FrontendType* const type = find_frontend(record.frontend)) {
    read_traces(*fields, type->traces, record.traces);
  } else {
    fields->refuse(fmt::format("this sluice has no front end {}", shown(record.frontend)));
  }
  if (auto ended = fields->end(); !ended) return std::unexpected(ended.error());
  return record;
}

bool is_same_server(const DeviceRecord& one, const DeviceRecord& other) {
  return one.pid == other.pid && one.pid_started == other.pid_started &&
         one.pid_scope == other.pid_scope;
}

ProcessMark mark_of(const DeviceRecord& record) {
  return {.pid = record.pid, .started = record.pid_started, .scope = record.pid_scope};
}

Life server_life(const DeviceRecord& record) {
  const ProcessMark mark = mark_of(record);
  const Life life = life_of(mark);
  return life == Life::unknown && !counts_as_here(mark) ? life_by_socket(record) : life;
}

bool server_alive(const DeviceRecord& record) {
  const Life life = server_life(record);
  return life == Life::alive || life == Life::unknown;
}

bool is_stale(const DeviceRecord& record) { return !server_alive(record) && !has_remains(record); }

}  // namespace sluice
