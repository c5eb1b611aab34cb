#include "daemon/server.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <thread>

#include "daemon/ask.hpp"
#include "daemon/control_socket.hpp"
#include "daemon/device_commands.hpp"
#include "daemon/notify.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kHandoverPatience{40};  // longer than the old server's own

// Stops the device when the process is told to end, until it goes out of scope. The signals are
// blocked in every thread, those of the device included, and are waited for in one.
class SignalWatch {
 public:
  explicit SignalWatch(Device& device) : device_(device) {
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
      notify_manager("STOPPING=1");
      if (const auto stopped = device_.stop(); !stopped) spdlog::error("{}", stopped.error().text);
    }
  }

  Device& device_;
  std::thread thread_;
};

// Without it the device serves all the same: it only cannot be asked.
std::unique_ptr<ControlSocket> open_control_socket(Device& device) {
  auto socket = ControlSocket::open(control_path(device.id()), device_commands(device));
  if (socket) return std::move(*socket);
  spdlog::warn("{}", socket.error().text);
  return nullptr;
}

// What came for this process while the device changed hands is meant for its next server.
void pass_on_signal(uint32_t id) {
  if (const auto record = read_record(id)) kill(record->pid, SIGTERM);
}

// A manager that is not told before this process ends takes that for the end of the service.
void announce_successor(uint32_t id) {
  if (const auto record = read_record(id)) notify_manager(fmt::format("MAINPID={}", record->pid));
}

// A handed over device may come back: then the control socket is opened again, because the server
// that failed may have had its own in that place.
Result<void> serve_until_gone(Device& device, std::unique_ptr<ControlSocket> control) {
  const SignalWatch watch(device);
  while (true) {
    device.wait();
    if (!device.leaving()) break;
    const auto handed_over = device.hand_over();
    if (!handed_over) return std::unexpected(handed_over.error());
    if (*handed_over) {
      if (control != nullptr) control->leave_file();
      announce_successor(device.id());
      if (device.should_stop()) pass_on_signal(device.id());
      return {};
    }
    control = open_control_socket(device);
    if (!device.should_stop()) continue;
    if (const auto stopped = device.stop(); !stopped) spdlog::error("{}", stopped.error().text);
  }
  control.reset();
  device.remove();
  return {};
}

void announce(const Device& device) {
  const DeviceRecord record = device.record();
  spdlog::info("device {} is live, mode {}", record.id, record.mode);
  notify_manager(fmt::format("READY=1\nMAINPID={}\nSTATUS={} is live, mode {}", getpid(),
                             record.path, record.mode));
}

// Serves until the device is gone, then frees what it held.
Result<void> serve(Device& device, std::vector<std::string> notes, const Ready& ready) {
  protect_process();
  leave_mount_namespace();
  auto announced = device.serve();
  std::unique_ptr<ControlSocket> control;
  if (announced) control = open_control_socket(device);
  if (announced && !ready({.id = device.id(), .notes = std::move(notes)})) {
    announced = fail(ECANCELED, "whoever asked for the device has gone");
  }
  if (announced) {
    announce(device);
    drop_mounts(state_directory());
  } else if (const auto stopped = device.stop(); !stopped) {
    spdlog::error("{}", stopped.error().text);
  }
  const auto served = serve_until_gone(device, std::move(control));
  return announced ? served : announced;
}

// Serves what another server still had a moment ago. If this cannot, that one is to have it back.
Result<void> serve_in_place_of(const DeviceRecord& record, const Ready& ready) {
  auto asked = ask_for_descriptors(record.id, {{"command", "hand_over"}, {"pid", getpid()}},
                                   kHandoverPatience);
  if (!asked) return std::unexpected(asked.error());
  use_manager_socket(asked->body.value("manager", std::string()));
  join_cgroup_of(record.pid);
  Handover handover{.state = asked->body.value("state", std::string()),
                    .descriptors = std::move(asked->descriptors)};
  // A resize may have come since.
  auto device = Device::take_over(read_record(record.id).value_or(record), std::move(handover));
  Result<void> served;
  if (!device) served = std::unexpected(device.error());
  if (served) served = (*device)->serve_on();
  if (!served) {
    device = std::unexpected(served.error());  // and with it all that it holds is closed
    [[maybe_unused]] const auto told = ask(record.id, {{"command", "take_back"}});
    return fail(served.error().error,
                fmt::format("the old server goes on: {}", served.error().text));
  }
  auto control = open_control_socket(**device);
  ready({.id = record.id, .notes = {}});
  announce(**device);
  drop_mounts(state_directory());
  return serve_until_gone(**device, std::move(control));
}

}  // namespace

Result<void> serve_new_device(const ServeOptions& options, const Ready& ready) {
  std::optional<LogKeeper> keeper;
  if (!options.foreground) keeper.emplace();
  SignalWatch::block_signals();
  auto device = Device::add(options);
  if (!device) return std::unexpected(device.error());
  std::vector<std::string> notes = keeper ? keeper->lines() : std::vector<std::string>();
  start_logging(options.foreground, log_path((*device)->id()), options.debug_mask);
  for (const std::string& note : notes) spdlog::info("{}", note);
  return serve(**device, std::move(notes), ready);
}

Result<void> serve_recovered_device(const DeviceRecord& record, bool foreground,
                                    const Ready& ready) {
  std::optional<LogKeeper> keeper;
  if (!foreground) keeper.emplace();
  SignalWatch::block_signals();
  auto device = Device::take_over(record, {});
  if (!device) return std::unexpected(device.error());
  std::vector<std::string> notes = keeper ? keeper->lines() : std::vector<std::string>();
  start_logging(foreground, log_path(record.id), record.debug_mask);
  for (const std::string& note : notes) spdlog::info("{}", note);
  return serve(**device, std::move(notes), ready);
}

Result<void> serve_upgraded_device(const DeviceRecord& record, const Ready& ready) {
  SignalWatch::block_signals();
  protect_process();
  leave_mount_namespace();
  start_logging(false, log_path(record.id), record.debug_mask);
  return serve_in_place_of(record, ready);
}

}  // namespace sluice
