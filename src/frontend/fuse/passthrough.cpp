#include "frontend/fuse/passthrough.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "frontend/fuse/handshake.hpp"
#include "frontend/fuse/mount_point.hpp"

namespace sluice::fuse {
namespace {

constexpr uint32_t kDepths[] = {1, 2};  // the kernel's limit is 2
constexpr uint32_t kTrialIoBytes = 128 * 1024;

Result<void> try_depth(uint32_t depth, const Descriptor& backing) {
  auto point = MountPoint::make({.place = {}, .max_io_bytes = kTrialIoBytes});
  if (!point) return std::unexpected(point.error());
  const auto offer = receive_offer(point->fuse_device());
  if (!offer) return std::unexpected(offer.error());
  const Agreement agreement{
      .path = DataPath::passthrough, .max_io_bytes = kTrialIoBytes, .stack_depth = depth};
  const auto answer = make_answer(*offer, agreement, 1);
  if (auto sent = send_answer(point->fuse_device(), *offer, answer); !sent) return sent;
  auto taken = give_backing(point->fuse_device(), backing);
  point->close_fuse_device();  // before the unmount: no server answers requests
  if (!taken) return std::unexpected(taken.error());
  return {};
}

std::string reason_of(int error) {
  switch (error) {
    case ELOOP:
      return "too many stacked file systems below it";
    case EPERM:
      return "it needs CAP_SYS_ADMIN outside of user namespaces";
    default:
      return std::strerror(error);
  }
}

}  // namespace

std::string bars_passthrough(const Stack& stack) {
  const auto file = stack.root().bare_file();
  if (!file) return "the stack is not a single bare file";
  struct stat status{};
  if (fstat(file->descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    return "the backing is not a regular file";
  }
  const bool whole = file->begin_bytes == 0 &&
                     static_cast<uint64_t>(status.st_size) == stack.geometry().data_bytes();
  if (!whole) return "the export is only a part of the file";
  if (geteuid() != 0) return "it needs root";
  return {};
}

std::string bars_passthrough_for_use(const Stack& stack, bool loop_direct_io) {
  std::string why_not = bars_passthrough(stack);
  if (!why_not.empty()) return why_not;
  if (stack.spec().flag("buffered_io")) {
    return "buffered_io forces the page cache, but passthrough leaves that choice to each program";
  }
  if (loop_direct_io && (fcntl(backing_descriptor(stack), F_GETFL) & O_DIRECT) == 0) {
    return "the backing does not support the direct I/O of the loop device";
  }
  return {};
}

int backing_descriptor(const Stack& stack) { return stack.root().bare_file()->descriptor; }

Result<Descriptor> reopen_for_passthrough(const Stack& stack) {
  const std::string path = fmt::format("/proc/self/fd/{}", backing_descriptor(stack));
  const int access = stack.geometry().read_only ? O_RDONLY : O_RDWR;
  Descriptor backing(open(path.c_str(), access | O_CLOEXEC));
  if (backing.valid()) return backing;
  return fail(errno, fmt::format("cannot open the backing file again for passthrough: {}",
                                 std::strerror(errno)));
}

Result<int32_t> give_backing(int device, const Descriptor& backing) {
  abi::BackingMap map{.descriptor = backing.number(), .flags = 0, .padding = 0};
  const int id = ioctl(device, abi::kBackingOpen, &map);
  if (id > 0) return id;
  const int error = id == 0 ? EINVAL : errno;
  return fail(error, fmt::format("the kernel refuses the backing file: {}", reason_of(error)));
}

Result<uint32_t> passthrough_depth(const Stack& stack) {
  const auto backing = reopen_for_passthrough(stack);
  if (!backing) return std::unexpected(backing.error());
  Result<void> tried;
  for (const uint32_t depth : kDepths) {
    tried = try_depth(depth, *backing);
    if (tried) return depth;
    if (tried.error().error != ELOOP) break;
  }
  return std::unexpected(tried.error());
}

}  // namespace sluice::fuse
