#include "frontend/loop/attachment.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/file_id.hpp"
#include "core/holders.hpp"

namespace sluice::loop {
namespace {

constexpr const char* kControlPath = "/dev/loop-control";
constexpr int kAttempts = 64;  // others may take a free number first
constexpr std::chrono::milliseconds kChosenPause{20};
constexpr unsigned long kGetSequence = _IOR(0x12, 128, uint64_t);  // BLKGETDISKSEQ, Linux 5.15

uint64_t sequence_of(int device) {
  uint64_t sequence = 0;
  return ioctl(device, kGetSequence, &sequence) == 0 ? sequence : 0;
}

}  // namespace

Result<Descriptor> open_loop_control() {
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

Result<Attachment> Attachment::make(int file, const AttachOptions& options) {
  const auto control = open_loop_control();
  if (!control) return std::unexpected(control.error());
  Attachment made;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const bool chosen = options.number >= 0;
    const int number = chosen ? options.number : ioctl(control->number(), LOOP_CTL_GET_FREE);
    if (number < 0) {
      return fail(errno,
                  fmt::format("the loop driver has no free device: {}", std::strerror(errno)));
    }
    const auto attached = made.attach_to(number, file, options);
    if (!attached) return std::unexpected(attached.error());
    if (*attached) return made;
    // A keeper that died may not have released the required device yet.
    if (chosen) std::this_thread::sleep_for(kChosenPause);
  }
  if (options.number >= 0) {
    return fail(EBUSY, fmt::format("/dev/loop{} now belongs to another process", options.number));
  }
  return fail(EBUSY, fmt::format("{} free loop devices in a row were taken by others: try again",
                                 kAttempts));
}

// False: another process has it now.
Result<bool> Attachment::attach_to(int number, int file, const AttachOptions& options) {
  const std::string path = fmt::format("/dev/loop{}", number);
  Descriptor device(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!device.valid()) {
    if (errno == EBUSY || errno == ENXIO) return false;
    return fail(errno, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  loop_config config{};
  config.fd = static_cast<uint32_t>(file);
  config.block_size = options.block_bytes;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN;
  if (options.direct_io) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  if (options.read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  std::strcpy(reinterpret_cast<char*>(config.info.lo_file_name), "sluice");
  if (ioctl(device.number(), LOOP_CONFIGURE, &config) != 0) {
    if (errno == EBUSY) return false;
    return fail(errno, fmt::format("{} cannot be attached: {}", path, std::strerror(errno)));
  }
  // A read-only flag set by a former user (`blockdev --setro`) stays with the device.
  const int read_only = 0;
  if (ioctl(device.number(), BLKROSET, &read_only) != 0) {
    return fail(errno, fmt::format("{} cannot be made writable: {}", path, std::strerror(errno)));
  }
  path_ = path;
  sequence_ = sequence_of(device.number());
  device_ = std::move(device);
  return true;
}

Result<Attachment> Attachment::adopt(const std::string& path, uint64_t sequence) {
  Attachment adopted;
  adopted.path_ = path;
  adopted.sequence_ = sequence;
  for (const int access : {O_RDWR, O_RDONLY}) {  // a read-only device can only be opened for
                                                 // reading
    if (!adopted.valid()) adopted.device_ = Descriptor(open(path.c_str(), access | O_CLOEXEC));
  }
  if (!adopted.valid()) {
    return fail(errno, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  // Asking the driver could block on the file, which may belong to another server.
  const int device = adopted.device_.number();
  loop_info64 info{};
  const bool same = sequence_of(device) == sequence &&
                    (sequence != 0 || ioctl(device, LOOP_GET_STATUS64, &info) == 0);
  if (same) return adopted;
  return fail(ESTALE, fmt::format("{} is now attached to nothing, or to another file", path));
}

Result<std::vector<std::string>> Attachment::check_unused() const {
  const auto id = identify(device_.number());
  if (!id) return std::vector<std::string>();
  return check_unheld({.path = path_, .device = id->number, .claimed = is_claimed(path_)});
}

Result<void> Attachment::sync() const {
  if (!valid() || fsync(device_.number()) == 0) return {};
  return fail(errno,
              fmt::format("{}: the last writes may be lost: {}", path_, std::strerror(errno)));
}

Result<void> Attachment::resize() const {
  if (ioctl(device_.number(), LOOP_SET_CAPACITY, 0) == 0) return {};
  return fail(errno,
              fmt::format("{} did not accept its new size: {}", path_, std::strerror(errno)));
}

}  // namespace sluice::loop
