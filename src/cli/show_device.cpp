#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>

#include "cli/features.hpp"
#include "cli/show.hpp"
#include "cli/show_table.hpp"
#include "frontend/ublk/control.hpp"
#include "spec/shown.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

Json driver_json(const DriverListing& driver);
Json record_json(const DeviceListing& device, const std::vector<Processors>& bound);
std::string driver_lines(const DriverListing& driver);
std::string record_lines(const DeviceListing& device);
struct FirstLines {
  uint32_t id;
  uint32_t queues;
  uint32_t depth;
  uint64_t block_bytes;
  uint64_t sectors;
  uint32_t max_io_bytes;
  int pid;
  std::string_view state;
};
std::string first_lines(const FirstLines& shown);
std::string_view record_state(const DeviceListing& device);
std::string queue_lines(const DeviceListing& device, const std::vector<Processors>& bound,
                        bool verbose);
std::string stack_lines(const DeviceListing& device, bool verbose);
Json target_summary(const DeviceListing& device);
std::string_view state_name(uint16_t state);
std::vector<std::string_view> flag_names(uint64_t flags);
uint64_t block_bytes(const DriverListing& driver);
uint64_t block_bytes(const DeviceListing& device);

}  // namespace

std::vector<Processors> bound_processors(const DeviceListing& device) {
  std::vector<Processors> bound;
  if (!device.record) return bound;
  const bool seen = life_of(mark_of(*device.record)) == Life::alive;
  for (const int thread : device.record->threads) {
    Processors processors;
    cpu_set_t set;
    CPU_ZERO(&set);
    // The thread numbers may belong to other processes if the server is dead, or in another pid
    // namespace.
    if (seen && sched_getaffinity(thread, sizeof(set), &set) == 0) {
      for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET(i, &set)) processors.push_back(i);
      }
    }
    bound.push_back(std::move(processors));
  }
  return bound;
}

std::string path_of(const DeviceListing& device) {
  return device.driver ? ublk::block_device_path(device.id) : device.record->path;
}

std::string_view state_of(const DeviceListing& device) {
  return device.driver ? state_name(device.driver->info.state) : record_state(device);
}

bool is_unhealthy(const DeviceListing& device) {
  return device.alive && device.record && device.record->health != HealthState::ok;
}

uint64_t size_of(const DeviceListing& device) {
  return device.driver ? device.driver->parameters.basic.device_sectors << 9
                       : device.record->size_bytes;
}

std::string device_text(const DeviceListing& device, const std::vector<Processors>& bound,
                        bool verbose) {
  std::string text = device.driver ? driver_lines(*device.driver) : record_lines(device);
  if (device.record) {
    text += queue_lines(device, bound, verbose);
    text += stack_lines(device, verbose);
  } else {
    text += fmt::format("\tserver not sluice's, but of {}: its stack is not known here\n",
                        owner_of(device));
  }
  return text;
}

Json device_json(const DeviceListing& device, const std::vector<Processors>& bound) {
  Json json = {
      {"id", device.id},
      {"name", device.record ? device.record->name : std::string()},
      {"frontend", device.record ? device.record->frontend : "ublk"},
      {"device", path_of(device)},
      {"state", state_of(device)},
      {"block_bytes", block_bytes(device)},
      {"size_bytes", size_of(device)},
  };
  if (device.driver) json.update(driver_json(*device.driver));
  json.set("served_by_sluice", device.record.has_value());
  if (device.record) json.update(record_json(device, bound));
  return json;
}

std::string written(const Json& json) { return to_indented_text(json, 2) + "\n"; }

namespace {

Json driver_json(const DriverListing& driver) {
  const ublk::abi::DeviceInfo& info = driver.info;
  const ublk::abi::DevtParameters& numbers = driver.parameters.devt;
  return {
      {"char_device", ublk::char_device_path(info.dev_id)},
      {"queues", info.queues},
      {"depth", info.depth},
      {"max_io_bytes", info.max_io_buf_bytes},
      {"pid", info.server_pid},
      {"flags", info.flags},
      {"flag_names", flag_names(info.flags)},
      {"number", fmt::format("{}:{}", numbers.disk_major, numbers.disk_minor)},
      {"char_number", fmt::format("{}:{}", numbers.char_major, numbers.char_minor)},
      {"owner_uid", info.owner_uid},
      {"owner_gid", info.owner_gid},
      {"driver_affinities", driver.affinities},
  };
}

Json record_json(const DeviceListing& device, const std::vector<Processors>& bound) {
  const DeviceRecord& record = *device.record;
  Json json = {
      {"server_alive", device.alive},
      {"target", record.spec.target},
      {"spec", spec_json(record.spec, target_vocabulary())},
      {"spec_text", to_text(record.spec, target_vocabulary())},
      {"read_only", record.read_only},
      {"mode", record.mode},
      {"mode_reason", record.mode_reason},
      {"recovery", record.recovery},
      {"unprivileged", record.unprivileged},
      {"user", record.user.empty() ? Json() : Json(record.user)},
      {"debug_mask", record.debug_mask},
      {"poll_us", record.poll_us},
      {"threads", record.threads},
      {"affinities", bound},
      {"reserve_bytes", record.reserve_bytes ? Json(*record.reserve_bytes) : Json()},
      {"swap_safe", device.alive && record.swap_risks.empty()},
      {"swap_risks", record.swap_risks},
  };
  const Json health = {{"state", to_string(record.health)}, {"reason", record.health_reason}};
  json.set("health", device.alive ? health : Json());
  if (device.driver) return json;  // the driver has better values
  json.set("queues", record.queues);
  json.set("depth", record.depth);
  json.set("max_io_bytes", record.max_io_bytes);
  json.set("pid", record.pid);
  return json;
}

// In the format of ublksrv_ctrl_dump().
std::string driver_lines(const DriverListing& driver) {
  const ublk::abi::DeviceInfo& info = driver.info;
  const ublk::abi::DevtParameters& numbers = driver.parameters.devt;
  std::string text = first_lines({.id = info.dev_id,
                                  .queues = info.queues,
                                  .depth = info.depth,
                                  .block_bytes = block_bytes(driver),
                                  .sectors = driver.parameters.basic.device_sectors,
                                  .max_io_bytes = info.max_io_buf_bytes,
                                  .pid = info.server_pid,
                                  .state = state_name(info.state)});
  text +=
      fmt::format("\tflags 0x{:x} [ {} ]\n", info.flags, fmt::join(flag_names(info.flags), " "));
  text += fmt::format("\tublkc: {}:{} ublkb: {}:{} owner: {}:{}\n", numbers.char_major,
                      numbers.char_minor, numbers.disk_major, numbers.disk_minor, info.owner_uid,
                      info.owner_gid);
  return text;
}

// The same for a device of another front end.
std::string record_lines(const DeviceListing& device) {
  const DeviceRecord& record = *device.record;
  std::string text = first_lines({.id = record.id,
                                  .queues = record.queues,
                                  .depth = record.depth,
                                  .block_bytes = record.block_bytes,
                                  .sectors = record.size_bytes >> 9,
                                  .max_io_bytes = record.max_io_bytes,
                                  .pid = record.pid,
                                  .state = record_state(device)});
  return text +
         fmt::format("\t{}: {}\n", record.frontend, printable(record.path, std::string::npos));
}

std::string first_lines(const FirstLines& shown) {
  return fmt::format(
      "dev id {}: nr_hw_queues {} queue_depth {} block size {} dev_capacity {}\n"
      "\tmax rq size {} daemon pid {} state {}\n",
      shown.id, shown.queues, shown.depth, shown.block_bytes, shown.sectors, shown.max_io_bytes,
      shown.pid, shown.state);
}

// In the driver's terms. A server without a complete record is still starting.
std::string_view record_state(const DeviceListing& device) {
  if (!device.alive) return "DEAD";
  return device.record->threads.empty() ? "STARTING" : "LIVE";
}

std::string queue_lines(const DeviceListing& device, const std::vector<Processors>& bound,
                        bool verbose) {
  std::string text;
  const std::vector<int>& threads = device.record->threads;
  for (size_t i = 0; i < threads.size(); ++i) {
    const Processors allowed = i < bound.size() ? bound[i] : Processors{};
    text += fmt::format("\tqueue {}: tid {} affinity({})", i, threads[i], fmt::join(allowed, " "));
    if (verbose && device.driver && i < device.driver->affinities.size()) {
      text += fmt::format(" driver({})", fmt::join(device.driver->affinities[i], " "));
    }
    text += '\n';
  }
  return text;
}

std::string stack_lines(const DeviceListing& device, bool verbose) {
  const DeviceRecord& record = *device.record;
  const std::string spec = to_text(record.spec, target_vocabulary());
  std::string text;
  if (!record.name.empty()) text += fmt::format("\tname {}\n", record.name);
  text += fmt::format("\ttarget {}\n", to_text(target_summary(device)));
  text += fmt::format("\tspec {}{}\n", printable(spec, std::string::npos),
                      record.read_only ? " (read-only)" : "");
  text += fmt::format("\tmode {}", record.mode);
  if (!record.mode_reason.empty()) text += fmt::format(" ({})", record.mode_reason);
  text += fmt::format("\n\trecovery {}\n", record.recovery);
  if (is_unhealthy(device)) {
    text += fmt::format("\thealth {} ({})\n", to_string(record.health),
                        printable(record.health_reason, std::string::npos));
  }
  if (!device.alive) {
    text += record.recovery == "none"
                ? "\tserver gone\n"
                : fmt::format("\tserver gone: 'sluice recover -n {}' starts another\n", record.id);
  }
  if (verbose) {
    text += fmt::format("\tjson {}\n", to_json(record.spec, target_vocabulary()));
  }
  return text;
}

// The keys that ublk's tool prints for all targets, in its alphabetical order.
Json target_summary(const DeviceListing& device) {
  const Spec& spec = device.record->spec;
  Json json = Json::object();
  for (const TargetSyntax& target : target_vocabulary()) {
    if (target.name != spec.target) continue;
    for (const OptionSyntax& option : target.options) {
      const bool is_file = option.kind == OptionKind::path && option.name == target.leaf_option;
      if (is_file) json.set("backing_file", spec.text(option.name));
    }
  }
  json.set("dev_size", size_of(device));
  json.set("name", spec.target);
  return json;
}

std::string_view state_name(uint16_t state) {
  switch (static_cast<ublk::abi::DeviceState>(state)) {
    case ublk::abi::DeviceState::dead:
      return "DEAD";
    case ublk::abi::DeviceState::live:
      return "LIVE";
    case ublk::abi::DeviceState::quiesced:
      return "QUIESCED";
    case ublk::abi::DeviceState::fail_io:
      return "FAIL_IO";
  }
  return "UNKNOWN";
}

std::vector<std::string_view> flag_names(uint64_t flags) {
  std::vector<std::string_view> names;
  for (const Feature& feature : features()) {
    if ((flags & feature.bit) != 0) names.push_back(feature.device_name);
  }
  return names;
}

uint64_t block_bytes(const DriverListing& driver) {
  return uint64_t{1} << driver.parameters.basic.logical_block_shift;
}

uint64_t block_bytes(const DeviceListing& device) {
  return device.driver ? block_bytes(*device.driver) : device.record->block_bytes;
}

}  // namespace
}  // namespace sluice::cli
