#include "frontend/loop/loop_device.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "frontend/loop/holders.hpp"

namespace sluice::loop {
namespace {

constexpr const char* kControlPath = "/dev/loop-control";
constexpr int kAttempts = 64;  // others may take the number that was free

Result<Descriptor> open_control() {
  Descriptor control(open(kControlPath, O_RDWR | O_CLOEXEC));
  if (control.valid()) return control;
  switch (errno) {
    case ENOENT:
    case ENODEV:
      return fail(ENODEV, fmt::format("this kernel has no loop driver ({} is missing): load it "
                                      "with 'modprobe loop'",
                                      kControlPath));
    case EACCES:
    case EPERM:
      return fail(EACCES, fmt::format("no permission to open {}: run as root, or use '--frontend "
                                      "fuse --at PATH', which needs none",
                                      kControlPath));
    default:
      return fail(errno, fmt::format("cannot open {}: {}", kControlPath, std::strerror(errno)));
  }
}

}  // namespace

Result<void> check_usable() {
  if (auto control = open_control(); !control) return std::unexpected(control.error());
  if (geteuid() != 0)
    return fail(EACCES,
                "a loop device on FUSE takes root: use '--frontend fuse "
                "--at PATH', which does not");
  return {};
}

Result<std::unique_ptr<LoopDevice>> LoopDevice::make(Stack& stack, const LoopOptions& options) {
  if (auto usable = check_usable(); !usable) return std::unexpected(usable.error());
  auto file = fuse::FuseExport::mount_detached(stack, options.file);
  if (!file) return std::unexpected(file.error());
  return std::unique_ptr<LoopDevice>(new LoopDevice(stack, options.direct_io, std::move(*file)));
}

// The loop device goes along, open: the kernel would detach it if nobody had it.
Result<Handover> LoopDevice::let_go() {
  auto handover = file_->let_go();
  if (!handover) return handover;
  handover->state = nlohmann::json{{"path", path_}, {"file", handover->state}}.dump();
  handover->descriptors.push_back(std::move(device_));
  return handover;
}

Result<std::unique_ptr<LoopDevice>> LoopDevice::adopt(Stack& stack, Handover handover) {
  const nlohmann::json state = nlohmann::json::parse(handover.state, nullptr, false);
  if (!state.is_object() || handover.descriptors.size() != 2) {
    return fail(EINVAL, "what was handed over is no loop device");
  }
  Descriptor device = std::move(handover.descriptors.back());
  handover.descriptors.pop_back();
  handover.state = state.value("file", std::string());
  auto file = fuse::FuseExport::adopt(stack, std::move(handover));
  if (!file) return std::unexpected(file.error());
  std::unique_ptr<LoopDevice> made(new LoopDevice(stack, true, std::move(*file)));
  made->path_ = state.value("path", std::string());
  made->device_ = std::move(device);
  return made;
}

LoopDevice::~LoopDevice() = default;

Result<void> LoopDevice::serve() {
  if (auto served = file_->serve(); !served || device_.valid()) return served;
  const auto backing = file_->open_detached(stack_.geometry().read_only ? O_RDONLY : O_RDWR);
  if (!backing) return std::unexpected(backing.error());
  return attach(backing->number());
}

Result<void> LoopDevice::attach(int backing) {
  const auto control = open_control();
  if (!control) return std::unexpected(control.error());
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int number = ioctl(control->number(), LOOP_CTL_GET_FREE);
    if (number < 0) {
      return fail(errno,
                  fmt::format("the loop driver has no free device: {}", std::strerror(errno)));
    }
    const auto attached = attach_to(number, backing);
    if (!attached) return std::unexpected(attached.error());
    if (*attached) return {};
  }
  return fail(EBUSY, fmt::format("{} free loop devices in a row were taken by others: try again",
                                 kAttempts));
}

// False: somebody else has it by now.
Result<bool> LoopDevice::attach_to(int number, int backing) {
  const std::string path = fmt::format("/dev/loop{}", number);
  Descriptor device(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!device.valid()) {
    if (errno == EBUSY || errno == ENXIO) return false;
    return fail(errno, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  loop_config config{};
  config.fd = static_cast<uint32_t>(backing);
  config.block_size = stack_.geometry().logical_block_bytes;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN;
  if (direct_io_) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  if (stack_.geometry().read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  std::strcpy(reinterpret_cast<char*>(config.info.lo_file_name), "sluice");
  if (ioctl(device.number(), LOOP_CONFIGURE, &config) != 0) {
    if (errno == EBUSY) return false;
    return fail(errno, fmt::format("{} cannot be attached: {}", path, std::strerror(errno)));
  }
  path_ = path;
  device_ = std::move(device);
  return true;
}

// What the page cache of the device holds is written while the file still answers. When the last
// one has closed the device, the kernel detaches it and lets go of the file.
Result<void> LoopDevice::stop() {
  if (device_.valid()) {
    if (fsync(device_.number()) != 0) {
      spdlog::error("{}: what was written last may be lost: {}", path_, std::strerror(errno));
    }
    device_ = Descriptor();
  }
  return file_->stop();
}

Result<void> LoopDevice::stop_unless_busy() {
  if (auto unused = check_unused(); !unused) return unused;
  return stop();
}

// A mounted file system, a swap area or a device-mapper table holds it exclusively; who merely has
// it open is looked for among the processes.
Result<void> LoopDevice::check_unused() const {
  const Descriptor exclusive(open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  if (!exclusive.valid() && errno == EBUSY) {
    return fail(EBUSY, fmt::format("{} is in use (mounted, or part of another device): unmount it "
                                   "first, or use --force and lose what is not yet written",
                                   path_));
  }
  struct stat node{};
  if (stat(path_.c_str(), &node) != 0) return {};
  if (const auto holder = holder_of(node.st_rdev)) {
    return fail(EBUSY, fmt::format("{} is open in process {} ({}): end that first, or use --force "
                                   "and lose what is not yet written",
                                   path_, holder->pid, holder->name));
  }
  return {};
}

Result<void> LoopDevice::resize(uint64_t size_bytes) {
  if (auto resized = file_->resize(size_bytes); !resized) return resized;
  if (ioctl(device_.number(), LOOP_SET_CAPACITY, 0) == 0) return {};
  return fail(errno, fmt::format("{} did not take its new size: {}", path_, std::strerror(errno)));
}

}  // namespace sluice::loop
