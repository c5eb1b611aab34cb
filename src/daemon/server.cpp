#include "daemon/server.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <thread>

#include "target/stack.hpp"

namespace sluice {
namespace {

using ublk::UblkDevice;

constexpr std::chrono::seconds kNodePatience{5};
constexpr std::chrono::seconds kPredecessorPatience{10};

// Stops the device when the process is told to end, until it goes out of scope. The signals are
// blocked in every thread, those of the device included, and are waited for in one.
class SignalWatch {
 public:
  explicit SignalWatch(UblkDevice& device) : device_(device) {
    thread_ = std::thread([this] { watch(); });
  }
  ~SignalWatch() {
    pthread_kill(thread_.native_handle(), kDone);
    thread_.join();
  }

  static void block_signals() {
    const sigset_t signals = watched();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }

 private:
  static constexpr int kDone = SIGUSR1;

  static sigset_t watched() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, kDone}) sigaddset(&signals, signal);
    return signals;
  }

  void watch() {
    const sigset_t signals = watched();
    int signal = 0;
    while (sigwait(&signals, &signal) == 0 && signal != kDone) {
      spdlog::info("signal {}: stopping device {}", signal, device_.id());
      if (const auto stopped = device_.stop(); !stopped) spdlog::error("{}", stopped.error().text);
    }
  }

  UblkDevice& device_;
  std::thread thread_;
};

std::string to_string(ublk::Recovery recovery) {
  switch (recovery) {
    case ublk::Recovery::none:
      return "none";
    case ublk::Recovery::wait:
      return "wait";
    case ublk::Recovery::reissue:
      return "reissue";
    case ublk::Recovery::fail_io:
      return "fail_io";
  }
  return "none";
}

// The device is live; udev may still be making its node, or giving it to its owner.
Result<void> wait_for_block_device(uint32_t id, bool read_only) {
  const std::string path = ublk::block_device_path(id);
  const int access_wanted = read_only ? R_OK : R_OK | W_OK;
  const auto give_up = std::chrono::steady_clock::now() + kNodePatience;
  while (access(path.c_str(), access_wanted) != 0) {
    if (std::chrono::steady_clock::now() > give_up) {
      return fail(errno, fmt::format("{} could not be opened within {} seconds ({}): is udev "
                                     "running, or devtmpfs mounted on /dev?",
                                     path, kNodePatience.count(), std::strerror(errno)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

void fill_in_server(DeviceRecord& record, const UblkDevice& device) {
  record.id = device.id();
  record.pid = getpid();
  record.pid_started = process_start_time(record.pid).value_or(0);
  record.threads.clear();
  for (const QueueReport& report : device.reports()) {
    record.threads.push_back(report.thread_id);
  }
}

void report_totals(const UblkDevice& device) {
  for (const QueueReport& report : device.reports()) {
    spdlog::info("device {}: {} requests, {} errors, {} bytes copied, {} arena overflows",
                 device.id(), report.requests, report.errors, report.copied_bytes,
                 report.arena_overflows);
  }
}

// Serves until the driver has taken every tag back, then frees what the device held.
Result<void> serve(UblkDevice& device, DeviceRecord& record, std::vector<std::string> notes,
                   const Ready& ready) {
  SignalWatch::block_signals();
  protect_process();
  leave_mount_namespace();
  if (auto served = device.serve(); !served) return served;
  fill_in_server(record, device);
  auto announced = write_record(record);
  if (announced) announced = wait_for_block_device(device.id(), device.read_only());
  if (announced && !ready({.id = device.id(), .notes = std::move(notes)})) {
    announced = fail(ECANCELED, "whoever asked for the device has gone");
  }
  if (announced) {
    spdlog::info("device {} is live, mode {}", device.id(), record.mode);
    drop_mounts(state_directory());
  } else if (const auto stopped = device.stop(); !stopped) {
    spdlog::error("{}", stopped.error().text);
  }
  {
    const SignalWatch watch(device);
    device.wait();
  }
  report_totals(device);
  // Whoever deletes the device does this too; the one that comes second finds it gone.
  const auto removed = device.remove();
  if (!removed && removed.error().error != ENODEV) spdlog::warn("{}", removed.error().text);
  remove_record(record.id);
  return announced;
}

// What a killed server held is not free at once: its requests in flight keep its files, with their
// locks, and the driver's side of the device until they have ended.
template <typename Attempt>
auto once_let_go(Attempt attempt) {
  const auto give_up = std::chrono::steady_clock::now() + kPredecessorPatience;
  while (true) {
    auto result = attempt();
    if (result || result.error().error != EBUSY) return result;
    if (std::chrono::steady_clock::now() > give_up) return result;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace

Result<void> serve_new_device(const ServeOptions& options, const Ready& ready) {
  std::optional<LogKeeper> keeper;
  if (!options.foreground) keeper.emplace();
  auto stack = Stack::open(options.spec, options.read_only);
  if (!stack) return std::unexpected(stack.error());
  (*stack)->trace_requests((options.debug_mask & kDebugRequests) != 0);
  SignalWatch::block_signals();
  auto device = UblkDevice::add(**stack, options.device);
  if (!device) return std::unexpected(device.error());
  std::vector<std::string> notes = keeper ? keeper->lines() : std::vector<std::string>();
  start_logging(options.foreground, log_path((*device)->id()), options.debug_mask);
  for (const std::string& note : notes) spdlog::info("{}", note);
  const ublk::abi::DeviceInfo& info = (*device)->info();
  DeviceRecord record{
      .spec = options.spec,
      .read_only = options.read_only,
      .queues = info.queues,
      .depth = info.depth,
      .max_io_bytes = info.max_io_buf_bytes,
      .mode = std::string(ublk::to_string((*device)->mode().mode)),
      .mode_reason = (*device)->mode().reason,
      .recovery = to_string(options.device.recovery),
      .unprivileged = (info.flags & ublk::abi::kUnprivilegedDev) != 0,
      .debug_mask = options.debug_mask,
      .threads = {},
  };
  return serve(**device, record, std::move(notes), ready);
}

Result<void> serve_recovered_device(const DeviceRecord& record, const Ready& ready) {
  const auto mode = ublk::parse_mode(record.mode);
  if (!mode)
    return fail(EINVAL, fmt::format("the state file of device {} names a mode '{}' that "
                                    "does not exist",
                                    record.id, record.mode));
  const LogKeeper keeper;
  auto stack = once_let_go([&] { return Stack::open(record.spec, record.read_only); });
  if (!stack) return std::unexpected(stack.error());
  (*stack)->trace_requests((record.debug_mask & kDebugRequests) != 0);
  SignalWatch::block_signals();
  auto device = once_let_go([&] { return UblkDevice::recover(**stack, record.id, *mode); });
  if (!device) return std::unexpected(device.error());
  std::vector<std::string> notes = keeper.lines();
  start_logging(false, log_path(record.id), record.debug_mask);
  for (const std::string& note : notes) spdlog::info("{}", note);
  DeviceRecord renewed = record;
  return serve(**device, renewed, std::move(notes), ready);
}

}  // namespace sluice
