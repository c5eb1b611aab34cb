#include "daemon/state.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "daemon/frontends.hpp"
#include "target/registry.hpp"

namespace sluice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kPrefix = "device-";
constexpr const char* kSuffix = ".json";
constexpr size_t kMaxRecordBytes = 4 << 20;

Result<void> write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0) return fail(errno, std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

std::string state_directory() {
  if (const char* const chosen = std::getenv("SLUICE_STATE_DIR")) return chosen;
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  if (geteuid() != 0 && runtime != nullptr) return fmt::format("{}/sluice", runtime);
  return "/run/sluice";
}

std::string record_path(uint32_t id) {
  return fmt::format("{}/{}{}{}", state_directory(), kPrefix, id, kSuffix);
}

std::string log_path(uint32_t id) {
  return fmt::format("{}/{}{}.log", state_directory(), kPrefix, id);
}

std::string control_path(uint32_t id) {
  return fmt::format("{}/{}{}.sock", state_directory(), kPrefix, id);
}

// To a new file and over the old one, so that a reader sees the one or the other.
Result<void> write_record(const DeviceRecord& record) {
  std::error_code error;
  fs::create_directories(state_directory(), error);
  const std::string path = record_path(record.id);
  const std::string fresh = fmt::format("{}.{}", path, getpid());
  const int file = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) {
    return fail(errno,
                fmt::format("cannot write the state file {}: {}", fresh, std::strerror(errno)));
  }
  const auto written = write_all(file, to_json(record) + "\n");
  close(file);
  if (written && rename(fresh.c_str(), path.c_str()) == 0) return {};
  const int cause = written ? errno : written.error().error;
  unlink(fresh.c_str());
  return fail(cause, fmt::format("cannot write the state file {}: {}", path, std::strerror(cause)));
}

Result<DeviceRecord> read_record(uint32_t id) {
  const std::string path = record_path(id);
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail(ENOENT, fmt::format("device {} is not one that sluice serves: there is no state "
                                    "file {}",
                                    id, path));
  }
  file.seekg(0, std::ios::end);
  std::string text(std::min(static_cast<size_t>(file.tellg()), kMaxRecordBytes), '\0');
  file.seekg(0);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  auto record = record_from_json(text);
  if (!record) {
    return fail(EINVAL,
                fmt::format("the state file {} cannot be used: {}", path, record.error().text));
  }
  return record;
}

void remove_record(uint32_t id) {
  unlink(record_path(id).c_str());
  unlink(log_path(id).c_str());
  unlink(control_path(id).c_str());
}

std::vector<DeviceRecord> read_records() {
  std::vector<DeviceRecord> records;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(state_directory(), error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    const std::string digits = name.substr(
        std::strlen(kPrefix), name.size() - std::strlen(kPrefix) - std::strlen(kSuffix));
    if (digits.empty() || digits.size() > 9 ||
        !std::ranges::all_of(digits, [](unsigned char c) { return std::isdigit(c) != 0; })) {
      continue;
    }
    auto record = read_record(static_cast<uint32_t>(std::stoul(digits)));
    if (record) records.push_back(std::move(*record));
  }
  std::ranges::sort(records, {}, &DeviceRecord::id);
  return records;
}

std::string to_json(const DeviceRecord& record) {
  return json{
      {"id", record.id},
      {"pid", record.pid},
      {"pid_started", record.pid_started},
      {"frontend", record.frontend},
      {"path", record.path},
      {"at", record.at},
      {"made", record.made},
      {"size_bytes", record.size_bytes},
      {"block_bytes", record.block_bytes},
      {"spec", json::parse(to_json(record.spec, target_vocabulary()))},
      {"read_only", record.read_only},
      {"queues", record.queues},
      {"depth", record.depth},
      {"max_io_bytes", record.max_io_bytes},
      {"mode", record.mode},
      {"mode_reason", record.mode_reason},
      {"recovery", record.recovery},
      {"unprivileged", record.unprivileged},
      {"debug_mask", record.debug_mask},
      {"threads", record.threads},
  }
      .dump(2);
}

Result<DeviceRecord> record_from_json(std::string_view text) {
  try {
    const json value = json::parse(text);
    DeviceRecord record;
    value.at("id").get_to(record.id);
    value.at("pid").get_to(record.pid);
    value.at("pid_started").get_to(record.pid_started);
    value.at("frontend").get_to(record.frontend);
    value.at("path").get_to(record.path);
    value.at("at").get_to(record.at);
    record.made = value.value("made", false);
    value.at("size_bytes").get_to(record.size_bytes);
    value.at("block_bytes").get_to(record.block_bytes);
    value.at("read_only").get_to(record.read_only);
    value.at("queues").get_to(record.queues);
    value.at("depth").get_to(record.depth);
    value.at("max_io_bytes").get_to(record.max_io_bytes);
    value.at("mode").get_to(record.mode);
    value.at("mode_reason").get_to(record.mode_reason);
    value.at("recovery").get_to(record.recovery);
    value.at("unprivileged").get_to(record.unprivileged);
    value.at("debug_mask").get_to(record.debug_mask);
    value.at("threads").get_to(record.threads);
    auto spec = parse_spec(value.at("spec").dump(), target_vocabulary());
    if (!spec) return std::unexpected(spec.error());
    record.spec = std::move(*spec);
    return record;
  } catch (const json::exception& error) {
    return fail(EINVAL, error.what());
  }
}

// Field 22 of /proc/PID/stat, counted after the name, which may hold anything but ends at the last
// ')'.
std::optional<uint64_t> process_start_time(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i < 22; ++i) {
    fields >> field;
    if (i == 3 && (field == "Z" || field == "X")) return std::nullopt;  // dead, not yet reaped
  }
  uint64_t started = 0;
  if (!(fields >> started)) return std::nullopt;
  return started;
}

bool is_stale(const DeviceRecord& record) { return !server_alive(record) && !has_remains(record); }

bool server_alive(const DeviceRecord& record) {
  const auto started = process_start_time(record.pid);
  return started && *started == record.pid_started;
}

}  // namespace sluice
