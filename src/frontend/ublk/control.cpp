#include "frontend/ublk/control.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "frontend/no_such_device.hpp"

namespace sluice::ublk {
namespace {

constexpr const char* kControlPath = "/dev/ublk-control";
// The driver reads the path of the character device from here, for unprivileged devices.
constexpr size_t kPathRoom = 64;
constexpr size_t kBufferRoom = 1024;

Error no_control(int error) {
  switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return {ENODEV, fmt::format("this kernel has no ublk driver ({} is missing): load it with "
                                  "'modprobe ublk_drv', or use Linux 6.0 or later with "
                                  "CONFIG_BLK_DEV_UBLK",
                                  kControlPath)};
    case EACCES:
    case EPERM:
      return {EACCES, fmt::format("no permission to open {}: run as root, or let udev give you "
                                  "the device (sluice-add(8), UNPRIVILEGED DEVICES)",
                                  kControlPath)};
    default:
      return {error, fmt::format("cannot open {}: {}", kControlPath, std::strerror(error))};
  }
}

}  // namespace

std::string char_device_path(uint32_t id) { return fmt::format("/dev/ublkc{}", id); }
std::string block_device_path(uint32_t id) { return fmt::format("/dev/ublkb{}", id); }

std::string described(uint32_t id) {
  return fmt::format("device {} ({})", id, block_device_path(id));
}

Result<std::unique_ptr<Control>> Control::open() {
  std::unique_ptr<Control> control(new Control);
  control->fd_ = ::open(kControlPath, O_RDWR | O_CLOEXEC);
  if (control->fd_ < 0) return std::unexpected(no_control(errno));
  const int result = io_uring_queue_init(4, &control->ring_, IORING_SETUP_SQE128);
  if (result != 0) {
    return fail(-result, fmt::format("cannot set up an I/O ring for ublk commands: {} (see "
                                     "/proc/sys/kernel/io_uring_disabled)",
                                     std::strerror(-result)));
  }
  control->ring_open_ = true;
  uint64_t features = 0;
  const auto asked = control->run({.op = abi::kGetFeatures,
                                   .name = "get features",
                                   .buffer = &features,
                                   .length = sizeof(features)});
  if (asked) control->features_ = features;
  return control;
}

Control::~Control() {
  if (ring_open_) io_uring_queue_exit(&ring_);
  if (fd_ >= 0) close(fd_);
}

Result<void> Control::add(abi::DeviceInfo& info) {
  auto added = run({.op = abi::kAddDev,
                    .name = "add",
                    .id = info.dev_id,
                    .buffer = &info,
                    .length = sizeof(info)});
  if (added) note_privilege(info);
  return added;
}

Result<void> Control::set_parameters(uint32_t id, const abi::Parameters& parameters) {
  return run({.op = abi::kSetParams,
              .name = "set the parameters of",
              .id = id,
              .buffer = const_cast<abi::Parameters*>(&parameters),
              .length = sizeof(parameters)});
}

Result<abi::Parameters> Control::parameters(uint32_t id) {
  abi::Parameters parameters{};
  parameters.length = sizeof(parameters);
  const auto asked = run({.op = abi::kGetParams,
                          .name = "get the parameters of",
                          .id = id,
                          .buffer = &parameters,
                          .length = sizeof(parameters)});
  if (!asked) return std::unexpected(asked.error());
  return parameters;
}

Result<abi::DeviceInfo> Control::info(uint32_t id) {
  abi::DeviceInfo info{};
  Call call{.op = abi::kGetDevInfo2,
            .name = "look at",
            .id = id,
            .buffer = &info,
            .length = sizeof(info)};
  auto asked = run(call);
  if (!asked && asked.error().error == EOPNOTSUPP) {  // before Linux 6.3
    call.op = abi::kGetDevInfo;
    asked = run(call);
  }
  if (!asked) return std::unexpected(asked.error());
  note_privilege(info);
  return info;
}

Result<std::vector<int>> Control::queue_affinity(uint32_t id, uint16_t queue) {
  cpu_set_t set;
  CPU_ZERO(&set);
  const auto asked = run({.op = abi::kGetQueueAffinity,
                          .name = "get the queue affinity of",
                          .id = id,
                          .data = queue,
                          .buffer = &set,
                          .length = sizeof(set)});
  if (!asked) return std::unexpected(asked.error());
  std::vector<int> processors;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) processors.push_back(i);
  }
  return processors;
}

Result<void> Control::start(uint32_t id, int server_pid) {
  return run({.op = abi::kStartDev,
              .name = "start",
              .id = id,
              .data = static_cast<uint64_t>(server_pid),
              .timeout = kLongTimeout});
}

Result<void> Control::stop(uint32_t id) {
  return run({.op = abi::kStopDev, .name = "stop", .id = id, .timeout = kLongTimeout});
}

Result<void> Control::try_stop(uint32_t id) {
  return run({.op = abi::kTryStopDev, .name = "stop", .id = id, .timeout = kLongTimeout});
}

Result<void> Control::update_size(uint32_t id, uint64_t size_bytes) {
  return run(
      {.op = abi::kUpdateSizeDev, .name = "change the size of", .id = id, .data = size_bytes >> 9});
}

Result<void> Control::quiesce(uint32_t id) {
  constexpr std::chrono::milliseconds kDriverTimeout{100};
  return run({.op = abi::kQuiesceDev,
              .name = "quiesce",
              .id = id,
              .data = static_cast<uint64_t>(kDriverTimeout.count()),
              .timeout = kLongTimeout});
}

// The driver has no asynchronous delete for unprivileged devices: then this gives up waiting for
// the number. The device itself is removed at once in any case.
Result<void> Control::remove(uint32_t id, bool wait) {
  if (!wait && unprivileged_.contains(id)) {
    constexpr std::chrono::seconds kDriverTimeout{1};
    const auto removed =
        run({.op = abi::kDelDev, .name = "delete", .id = id, .timeout = kDriverTimeout});
    return removed || removed.error().error == ETIMEDOUT ? Result<void>() : removed;
  }
  return run({.op = wait ? abi::kDelDev : abi::kDelDevAsync,
              .name = "delete",
              .id = id,
              .timeout = kLongTimeout});
}

Result<void> Control::start_recovery(uint32_t id) {
  return run({.op = abi::kStartUserRecovery, .name = "start the recovery of", .id = id});
}

Result<void> Control::end_recovery(uint32_t id, int server_pid) {
  return run({.op = abi::kEndUserRecovery,
              .name = "end the recovery of",
              .id = id,
              .data = static_cast<uint64_t>(server_pid),
              .timeout = kLongTimeout});
}

std::vector<uint32_t> Control::ids() {
  std::vector<uint32_t> ids;
  DIR* const directory = opendir("/sys/class/ublk-char");
  if (directory == nullptr) return ids;
  constexpr std::string_view kPrefix = "ublkc";
  while (const dirent* const entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (!name.starts_with(kPrefix)) continue;
    uint32_t id = 0;
    const char* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, id);
    if (error == std::errc() && rest == end) ids.push_back(id);
  }
  closedir(directory);
  std::ranges::sort(ids);
  return ids;
}

void Control::note_privilege(const abi::DeviceInfo& info) {
  if ((info.flags & abi::kUnprivilegedDev) != 0) unprivileged_.insert(info.dev_id);
}

Result<void> Control::run(const Call& call) {
  const int result = submit_and_wait(call);
  if (result >= 0) return {};
  const int error = -result;
  const std::string device = call.id == kAnyId ? "a ublk device" : described(call.id);
  switch (error) {
    case ETIME:
      return fail(ETIMEDOUT, fmt::format("the ublk driver did not {} {} within {} seconds: look at "
                                         "the kernel log (dmesg)",
                                         call.name, device, call.timeout.count()));
    case ENODEV:
      if (call.id != kAnyId) return std::unexpected(no_such_device(call.id));
      break;
    case EPERM:
    case EACCES:
      return fail(error, fmt::format("no permission to {} {}: it needs root (CAP_SYS_ADMIN), or "
                                     "the owner of an unprivileged device",
                                     call.name, device));
    default:
      break;
  }
  return fail(error, fmt::format("cannot {} {}: {}", call.name, device, std::strerror(error)));
}

// The driver writes to the buffer when it answers, which may be after the timeout: so the buffer is
// a separate block, leaked in that case, and the ring is not used again.
int Control::submit_and_wait(const Call& call) {
  if (silent_) return -ETIME;
  auto block = std::make_unique<std::byte[]>(kPathRoom + kBufferRoom);
  std::byte* const buffer = block.get() + kPathRoom;
  if (call.length != 0) std::memcpy(buffer, call.buffer, call.length);

  abi::ControlCommand command{};
  command.dev_id = call.id;
  command.queue_id = call.queue;
  command.data = call.data;
  command.address = call.length != 0 ? reinterpret_cast<uint64_t>(buffer) : 0;
  command.length = call.length;
  if (call.op == abi::kGetDevInfo2 || unprivileged_.contains(call.id)) {
    // For an unprivileged device the driver checks access by its path.
    const std::string path = char_device_path(call.id);
    std::memcpy(buffer - path.size() - 1, path.c_str(), path.size() + 1);
    command.dev_path_length = static_cast<uint16_t>(path.size() + 1);
    command.address = reinterpret_cast<uint64_t>(buffer) - command.dev_path_length;
    command.length = static_cast<uint16_t>(call.length + command.dev_path_length);
  }

  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  std::memset(sqe, 0, 2 * sizeof(*sqe));
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = fd_;
  sqe->cmd_op = static_cast<uint32_t>(call.op);
  std::memcpy(sqe->cmd, &command, sizeof(command));

  io_uring_cqe* cqe = nullptr;
  __kernel_timespec timeout{.tv_sec = call.timeout.count(), .tv_nsec = 0};
  int waited = 0;
  do {
    waited = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &timeout, nullptr);
  } while (waited == -EINTR);
  if (cqe == nullptr) {
    silent_ = true;
    [[maybe_unused]] const std::byte* const leaked = block.release();
    return waited == -ETIME ? -ETIME : waited;
  }
  const int result = cqe->res;
  io_uring_cqe_seen(&ring_, cqe);
  if (result >= 0 && call.length != 0) std::memcpy(call.buffer, buffer, call.length);
  return result;
}

}  // namespace sluice::ublk
