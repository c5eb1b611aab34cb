#include "frontend/ublk/device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "frontend/ublk/parameters.hpp"
#include "frontend/ublk/reactor.hpp"
#include "frontend/ublk/safe_stop.hpp"
#include "spec/size.hpp"

namespace sluice::ublk {
namespace {

constexpr std::chrono::seconds kNodePatience{5};  // for devtmpfs and udev

uint64_t flags_of(Recovery recovery) {
  switch (recovery) {
    case Recovery::none:
      return 0;
    case Recovery::wait:
      return abi::kUserRecovery;
    case Recovery::reissue:
      return abi::kUserRecovery | abi::kUserRecoveryReissue;
    case Recovery::fail_io:
      return abi::kUserRecovery | abi::kUserRecoveryFailIo;
  }
  return 0;
}

Error explain_add(const Error& error, const DeviceOptions& options) {
  switch (error.error) {
    case EEXIST:
      return {EEXIST, fmt::format("ublk device {} exists already: choose another -n, or delete it "
                                  "with 'sluice del -n {}'",
                                  options.id, options.id)};
    case ENOSPC:
    case ENFILE:
      return {error.error,
              "the ublk driver has no free device number: delete a device first (see "
              "'sluice list')"};
    case EINVAL:
      return {EINVAL,
              fmt::format("the ublk driver refused {} queues of depth {} with I/O of up to "
                          "{}: lower one of them (id {} must be below the driver's limit)",
                          options.queues, options.depth, describe_size(options.max_io_bytes),
                          static_cast<int32_t>(options.id))};
    default:
      return error;
  }
}

}  // namespace

std::string_view to_string(Recovery recovery) {
  constexpr std::string_view kNames[] = {"none", "wait", "reissue", "fail_io"};
  return kNames[static_cast<size_t>(recovery)];
}

Result<std::unique_ptr<UblkDevice>> UblkDevice::add(Stack& stack, const DeviceOptions& options) {
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  std::unique_ptr<UblkDevice> device(new UblkDevice(stack, std::move(*control)));
  if (auto created = device->create(options); !created) return std::unexpected(created.error());
  return device;
}

Result<std::unique_ptr<UblkDevice>> UblkDevice::recover(Stack& stack, uint32_t id,
                                                        BufferMode mode) {
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  std::unique_ptr<UblkDevice> device(new UblkDevice(stack, std::move(*control)));
  if (auto adopted = device->adopt(id, mode); !adopted) return std::unexpected(adopted.error());
  return device;
}

UblkDevice::UblkDevice(Stack& stack, std::unique_ptr<Control> control)
    : stack_(stack), control_(std::move(control)) {}

UblkDevice::~UblkDevice() {
  if (!live_) {
    for (const auto& reactor : reactors_) reactor->abandon();
  }
  reactors_.clear();
  if (char_fd_ >= 0) close(char_fd_);
  if (added_ && !live_) [[maybe_unused]]
    const auto removed = control_->remove(info_.dev_id, true);
}

Result<void> UblkDevice::create(const DeviceOptions& options) {
  ModeWish wish = options.wish;
  wish.slots_per_ring = options.depth;
  auto mode = choose_mode(wish, control_->features(), stack_.geometry());
  if (!mode) return std::unexpected(mode.error());
  mode_ = *mode;
  const auto parameters =
      make_parameters(stack_.geometry(), options.max_io_bytes, is_zero_copy(mode_.mode));
  if (!parameters) return std::unexpected(parameters.error());

  info_.dev_id = options.id;
  info_.queues = options.queues;
  info_.depth = options.depth;
  info_.max_io_buf_bytes = options.max_io_bytes;
  info_.flags =
      abi::kCmdIoctlEncode | abi::kUringCmdCompInTask | mode_.flags | flags_of(options.recovery);
  if (options.wish.unprivileged) info_.flags |= abi::kUnprivilegedDev;
  // Features that later commands need; the driver clears what it does not know.
  if (options.recovery != Recovery::none) info_.flags |= abi::kQuiesce & control_->features();
  info_.flags |= abi::kUpdateSize & control_->features();
  if (auto added = control_->add(info_); !added) {
    return std::unexpected(explain_add(added.error(), options));
  }
  added_ = true;
  // First the node: a device without privilege answers its owner only once udev has given it away.
  if (auto opened = open_char_device(); !opened) return opened;
  return control_->set_parameters(info_.dev_id, *parameters);
}

Result<void> UblkDevice::adopt(uint32_t id, BufferMode mode) {
  auto info = control_->info(id);
  if (!info) return std::unexpected(info.error());
  info_ = *info;
  recovering_ = true;
  if ((info_.flags & abi::kUserRecovery) == 0) {
    return fail(EINVAL, fmt::format("ublk device {} was added without recovery (-r 1): delete it "
                                    "with 'sluice del -n {}' and add it again",
                                    id, id));
  }
  const auto parameters = control_->parameters(id);
  if (!parameters) return std::unexpected(parameters.error());
  const uint64_t device_bytes = parameters->basic.device_sectors << 9;
  if (device_bytes > stack_.geometry().size_bytes) {
    return fail(EINVAL, fmt::format("ublk device {} has {} bytes but its backing now only {}: "
                                    "restore the backing to its size first",
                                    id, device_bytes, stack_.geometry().size_bytes));
  }
  mode_ = {mode, info_.flags, "as it was added"};
  if (auto started = control_->start_recovery(id); !started) {
    if (started.error().error != EBUSY) return started;
    return fail(EBUSY, fmt::format("ublk device {} still has a server (pid {}): stop that first",
                                   id, info_.server_pid));
  }
  return open_char_device();
}

// The node may come a moment after the device, from udev.
Result<void> UblkDevice::open_char_device() {
  const std::string path = char_device_path(info_.dev_id);
  const auto give_up = std::chrono::steady_clock::now() + kNodePatience;
  // O_NONBLOCK: the ring then does explicit copies at once instead of handing them to a worker.
  while ((char_fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK)) < 0) {
    const bool may_come = errno == ENOENT || errno == EACCES || errno == EBUSY;
    if (!may_come || std::chrono::steady_clock::now() > give_up) {
      const char* const advice =
          (info_.flags & abi::kUnprivilegedDev) != 0 && errno == EACCES
              ? ": udev did not give it to you (sluice-add(8), UNPRIVILEGED DEVICES); root can "
                "delete the device"
              : "";
      return fail(errno, fmt::format("cannot open {}: {}{}", path, std::strerror(errno), advice));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

Result<void> UblkDevice::serve() {
  if (auto started = start_reactors(); !started) return started;
  const int pid = getpid();
  const auto live =
      recovering_ ? control_->end_recovery(info_.dev_id, pid) : control_->start(info_.dev_id, pid);
  live_ = live.has_value();
  return live;
}

Result<void> UblkDevice::start_reactors() {
  for (uint16_t i = 0; i < info_.queues; ++i) {
    Reactor::Setup setup;
    setup.char_fd = char_fd_;
    setup.files.assign(stack_.files().begin(), stack_.files().end());
    const File char_device{.number = static_cast<int32_t>(setup.files.size()), .registered = true};
    setup.files.push_back(char_fd_);
    setup.queues.push_back({.id = i,
                            .depth = info_.depth,
                            .max_io_bytes = info_.max_io_buf_bytes,
                            .mode = mode_.mode,
                            .user_copy = (info_.flags & abi::kUserCopy) != 0,
                            .char_device = char_device,
                            .char_fd = char_fd_});
    if (auto processors = control_->queue_affinity(info_.dev_id, i); processors) {
      setup.processors = *processors;
    }
    reactors_.push_back(std::make_unique<Reactor>(std::move(setup), stack_));
    reactors_.back()->start();
  }
  // All of them, also when one fails: only then can they be ended.
  Result<void> started;
  for (const auto& reactor : reactors_) {
    if (auto ready = reactor->wait_until_ready(); !ready && started) started = ready;
  }
  return started;
}

void UblkDevice::wait() {
  for (const auto& reactor : reactors_) reactor->join();
}

Result<void> UblkDevice::stop() { return control_->stop(info_.dev_id); }

// With a control of its own: any thread may ask for it.
Result<void> UblkDevice::stop_unless_busy() {
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  return ublk::stop_unless_busy(**control, info_.dev_id);
}

Result<void> UblkDevice::remove() {
  reactors_.clear();
  if (char_fd_ >= 0) close(std::exchange(char_fd_, -1));
  return control_->remove(info_.dev_id, false);  // whoever still has it open keeps the id
}

Result<void> UblkDevice::quiesce() {
  const uint32_t id = info_.dev_id;
  if ((info_.flags & abi::kUserRecovery) == 0) {
    return fail(EOPNOTSUPP, fmt::format("ublk device {} was added without recovery (-r 1), so no "
                                        "other server can take it over: delete it with 'sluice "
                                        "del -n {}' and add it again",
                                        id, id));
  }
  if ((info_.flags & abi::kQuiesce) == 0) {
    return fail(EOPNOTSUPP, fmt::format("ublk device {} cannot be quiesced: it takes Linux 6.16, "
                                        "both now and when the device was added; delete it with "
                                        "'sluice del -n {}' and add it again",
                                        id, id));
  }
  const auto quiesced = control_->quiesce(id);
  if (!quiesced && quiesced.error().error != EBUSY) return quiesced;
  for (const auto& reactor : reactors_) reactor->drain();
  return {};
}

// The driver notices when the last ring has let go of its device.
Result<Handover> UblkDevice::let_go() {
  reactors_.clear();
  if (char_fd_ >= 0) close(std::exchange(char_fd_, -1));
  const auto give_up = std::chrono::steady_clock::now() + Control::kPatience;
  while (true) {
    const auto info = control_->info(info_.dev_id);
    if (!info) return std::unexpected(info.error());
    if (info->state != static_cast<uint16_t>(abi::DeviceState::live)) return Handover();
    if (std::chrono::steady_clock::now() > give_up) {
      return fail(ETIMEDOUT, fmt::format("the ublk driver did not take device {} back within {} "
                                         "seconds: look at the kernel log (dmesg)",
                                         info_.dev_id, Control::kPatience.count()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Result<void> UblkDevice::resize(uint64_t size_bytes) {
  if ((info_.flags & abi::kUpdateSize) == 0) {
    return fail(EOPNOTSUPP,
                "this kernel's ublk driver cannot change the size of a device: Linux "
                "6.16 can");
  }
  return control_->update_size(info_.dev_id, size_bytes);
}

std::string UblkDevice::path() const { return block_device_path(info_.dev_id); }

std::vector<QueueReport> UblkDevice::reports() const {
  std::vector<QueueReport> reports;
  for (const auto& reactor : reactors_) {
    QueueReport report{.thread_id = reactor->thread_id(), .copied_bytes = reactor->copied_bytes()};
    for (const auto& queue : reactor->queues()) report.add(queue->counters());
    reports.push_back(std::move(report));
  }
  return reports;
}

Result<std::vector<InFlight>> UblkDevice::in_flight() const {
  std::vector<InFlight> all;
  for (const auto& reactor : reactors_) {
    auto found = reactor->in_flight();
    if (!found) return found;
    all.insert(all.end(), found->begin(), found->end());
  }
  return all;
}

}  // namespace sluice::ublk
