#include "cli/ready_descriptor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::cli {

Outcome<void> check_ready_descriptor(int descriptor, std::span<const int> taken) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) {
    return failed(
        fmt::format("--ready_fd {}: this descriptor is not open for writing", descriptor));
  }
  if (std::ranges::find(taken, descriptor) == taken.end()) return {};
  return failed(fmt::format("--ready_fd {}: this descriptor has another purpose", descriptor));
}

Outcome<void> tell_ready(int descriptor, const std::string& path) {
  const std::string line = path + '\n';
  const ssize_t written = write(descriptor, line.data(), line.size());
  const int cause = written < 0 ? errno : EIO;
  close(descriptor);
  if (written == static_cast<ssize_t>(line.size())) return {};
  return failed(fmt::format("cannot write to --ready_fd {}: {}", descriptor, std::strerror(cause)));
}

}  // namespace sluice::cli
