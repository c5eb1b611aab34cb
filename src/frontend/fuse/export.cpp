#include "frontend/fuse/export.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "frontend/fuse/mount_state.hpp"
#include "frontend/fuse/reactor.hpp"
#include "spec/size.hpp"
#include "target/loop/file_target.hpp"

namespace sluice::fuse {
namespace {

constexpr uint32_t kPageBytes = 4096;
constexpr uint16_t kSideDepth = 4;  // of the reader of /dev/fuse beside other paths

const FileTarget* bare_file(const Stack& stack) {
  return dynamic_cast<const FileTarget*>(&stack.root());
}

// Why the kernel cannot be left alone with the backing file, or nothing.
std::string bars_passthrough(const Stack& stack) {
  const FileTarget* const file = bare_file(stack);
  if (file == nullptr) return "the stack is more than one bare file";
  struct stat status{};
  if (fstat(file->place().descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    return "the backing is no regular file";
  }
  const bool whole = file->place().begin_bytes == 0 &&
                     static_cast<uint64_t>(status.st_size) == stack.geometry().size_bytes;
  if (!whole) return "the export is only a part of the file";
  if (geteuid() != 0) return "it takes root";
  return {};
}

// "0-7" or "0-3,8-11": one more than the highest; 1 where it cannot be read.
uint16_t possible_processors() {
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string list;
  file >> list;
  const size_t last = list.find_last_of("-,");
  const std::string highest = last == std::string::npos ? list : list.substr(last + 1);
  return static_cast<uint16_t>(std::strtoul(highest.c_str(), nullptr, 10) + 1);
}

// Likewise for pages that are lent to the stack.
std::string bars_zero_copy(const Stack& stack, const ExportOptions& options, bool for_loop_device) {
  if (for_loop_device) {
    return "a loop device hands over memory of file systems, which Linux 7.3-rc7 frees when it "
           "lends it";
  }
  if (stack.geometry().needs_bytes) return "a target of the stack must see the data";
  const uint32_t queues = possible_processors();
  const uint32_t threads = std::min<uint32_t>(options.queues, queues);
  const uint32_t slots = (queues + threads - 1) / threads * options.depth;
  if (slots <= KernelRing::kMaxSlots) return {};
  return fmt::format("{} requests for each thread are more than the {} that a ring has room for",
                     slots, KernelRing::kMaxSlots);
}

OneFile::Shape shape_of(const Stack& stack, const MountPoint& mount) {
  const Geometry& geometry = stack.geometry();
  const mode_t writing = geometry.read_only ? 0222 : 0;
  return {.in_directory = mount.record().directory,
          .read_only = geometry.read_only,
          .permissions = mount.permissions() & ~writing,
          .uid = mount.owner(),
          .gid = mount.group(),
          .size_bytes = geometry.size_bytes,
          .block_bytes = std::max(kPageBytes, geometry.physical_block_bytes)};
}

Result<void> check_options(const ExportOptions& options) {
  const uint32_t bytes = options.max_io_bytes;
  if (bytes < 2 * kPageBytes || bytes > kMaxIoBytes || bytes % kPageBytes != 0) {
    return fail(EINVAL, fmt::format("requests of up to {} bytes cannot be had through FUSE: give a "
                                    "multiple of {} from {} to {}",
                                    bytes, kPageBytes, 2 * kPageBytes, kMaxIoBytes));
  }
  if (options.queues != 0 && options.depth != 0) return {};
  return fail(EINVAL, "an export needs at least one queue of depth one");
}

}  // namespace

Result<std::unique_ptr<FuseExport>> FuseExport::mount(Stack& stack, const ExportOptions& options) {
  if (auto checked = check_options(options); !checked) return std::unexpected(checked.error());
  auto point = MountPoint::mount({.at = options.at,
                                  .read_only = stack.geometry().read_only,
                                  .allow_other = options.allow_other,
                                  .max_io_bytes = options.max_io_bytes});
  return finish(stack, options, std::move(point));
}

Result<std::unique_ptr<FuseExport>> FuseExport::mount_detached(Stack& stack,
                                                               const ExportOptions& options) {
  if (auto checked = check_options(options); !checked) return std::unexpected(checked.error());
  return finish(stack, options,
                MountPoint::mount_detached({.at = {},
                                            .read_only = stack.geometry().read_only,
                                            .max_io_bytes = options.max_io_bytes}));
}

Result<std::unique_ptr<FuseExport>> FuseExport::finish(Stack& stack, const ExportOptions& options,
                                                       Result<MountPoint> mounted) {
  if (!mounted) return std::unexpected(mounted.error());
  std::unique_ptr<FuseExport> made(new FuseExport(stack, options, std::move(*mounted)));
  if (auto agreed = made->agree(); !agreed) return std::unexpected(agreed.error());
  return made;
}

Result<std::unique_ptr<FuseExport>> FuseExport::adopt(Stack& stack, Handover handover) {
  auto state = mount_state_from_json(handover.state);
  if (!state) return std::unexpected(state.error());
  std::vector<Descriptor>& descriptors = handover.descriptors;
  const size_t expected = state->mount.detached ? 1 : 3;
  if (descriptors.size() != expected) {
    return fail(EINVAL, "a mount was handed over without its descriptors");
  }
  Viewpoint home;
  if (!state->mount.detached) {
    home.mount_namespace = std::move(descriptors[1]);
    home.root = std::move(descriptors[2]);
  }
  auto point = MountPoint::adopt(state->mount, std::move(descriptors[0]), std::move(home));
  if (!point) return std::unexpected(point.error());
  const ExportOptions options{.at = state->mount.at,
                              .queues = state->queues,
                              .depth = state->depth,
                              .max_io_bytes = state->agreement.max_io_bytes,
                              .path = state->agreement.path};
  std::unique_ptr<FuseExport> made(new FuseExport(stack, options, std::move(*point)));
  made->choice_ = {.path = state->agreement.path, .reason = "as it was handed over"};
  made->backing_id_ = state->backing_id;
  made->file_.restore(state->attributes);
  if (made->choice_.path == DataPath::passthrough) {
    const std::string why_not = bars_passthrough(stack);
    if (!why_not.empty()) {
      return fail(EINVAL, fmt::format("{} is served by passthrough, and cannot be with this stack: "
                                      "{}",
                                      options.at, why_not));
    }
    made->file_.use_passthrough(made->backing_id_, bare_file(stack)->place().descriptor);
  } else {
    made->file_.use_direct_io();
  }
  return made;
}

FuseExport::FuseExport(Stack& stack, const ExportOptions& options, MountPoint mount)
    : stack_(stack),
      options_(options),
      mount_(std::move(mount)),
      file_(shape_of(stack, mount_)),
      io_(stack, file_, options.max_io_bytes) {}

FuseExport::~FuseExport() {
  if (!handed_over_) stop_reactors();
  reactors_.clear();
  clones_.clear();
  if (handed_over_ || served_) return;
  mount_.close_device();  // otherwise the unmount might wait for our answers
  [[maybe_unused]] const auto unmounted = mount_.unmount(/*lazily=*/true);
  mount_.remove_made_file();
}

Result<void> FuseExport::agree() {
  auto offer = receive_offer(mount_.device());
  if (!offer) return std::unexpected(offer.error());
  auto choice = choose_path(
      options_.path, {.kernel_flags = offer->flags,
                      .bars_passthrough = bars_passthrough(stack_),
                      .bars_zero_copy = bars_zero_copy(stack_, options_, mount_.detached())});
  if (!choice) return std::unexpected(choice.error());
  choice_ = *choice;
  const Agreement agreement{.path = choice_.path, .max_io_bytes = options_.max_io_bytes};
  const uint32_t requests = uint32_t{options_.queues} * options_.depth;
  const auto answer = make_answer(*offer, agreement, requests);
  if (auto sent = send_answer(mount_.device(), *offer, answer); !sent) return sent;
  if (choice_.path == DataPath::passthrough) return set_up_passthrough();
  file_.use_direct_io();
  return choice_.path == DataPath::uring_zc ? set_up_zero_copy() : Result<void>();
}

Result<void> FuseExport::set_up_zero_copy() {
  auto opened = pools_.open({.device = mount_.device(),
                             .queues = possible_processors(),
                             .depth = options_.depth,
                             .max_io_bytes = options_.max_io_bytes});
  if (opened) file_.lend_pages();
  return opened;
}

// The kernel opens the backing file anew for each user, as that user opened ours: without O_DIRECT
// for those who did not ask for it, and never more than we may do with it.
Result<void> FuseExport::set_up_passthrough() {
  const int descriptor = bare_file(stack_)->place().descriptor;
  const int access = stack_.geometry().read_only ? O_RDONLY : O_RDWR;
  backing_ =
      Descriptor(open(fmt::format("/proc/self/fd/{}", descriptor).c_str(), access | O_CLOEXEC));
  if (!backing_.valid()) {
    return fail(errno, fmt::format("cannot open the backing file again for passthrough: {}",
                                   std::strerror(errno)));
  }
  abi::BackingMap map{.descriptor = backing_.number(), .flags = 0, .padding = 0};
  backing_id_ = ioctl(mount_.device(), abi::kBackingOpen, &map);
  if (backing_id_ <= 0) {
    return fail(errno, fmt::format("the kernel does not take the backing file for passthrough "
                                   "({}): choose another data path, such as copy",
                                   std::strerror(errno)));
  }
  file_.use_passthrough(backing_id_, backing_.number());
  return {};
}

Result<void> FuseExport::serve() {
  auto started = start_reactors();
  served_ = started.has_value();
  return started;
}

Result<void> FuseExport::start_reactors() {
  const bool uring = is_over_uring(choice_.path);
  const uint16_t kernel_queues = uring ? possible_processors() : 0;
  // Beside another path /dev/fuse has little to say; one reader is enough.
  const uint16_t threads = choice_.path == DataPath::passthrough ? uint16_t{1}
                           : uring ? std::min(options_.queues, kernel_queues)
                                   : options_.queues;
  for (uint16_t i = 0; i < threads; ++i) {
    Reactor::Setup setup{
        .number = i, .copy_queues = {}, .splice_queues = {}, .uring_queues = {}, .files = {}};
    setup.files.assign(stack_.files().begin(), stack_.files().end());
    auto device = clone_device();
    if (!device) return std::unexpected(device.error());
    const File file{.number = static_cast<int32_t>(setup.files.size()), .registered = true};
    setup.files.push_back(device->number());
    clones_.push_back(std::move(*device));
    for (uint16_t queue = i; queue < kernel_queues; queue += threads) {
      setup.uring_queues.push_back(
          {.id = queue,
           .depth = options_.depth,
           .max_io_bytes = options_.max_io_bytes,
           .device = file,
           .pool = choice_.path == DataPath::uring_zc ? pools_.of(queue) : std::span<std::byte>()});
    }
    if (choice_.path == DataPath::splice) {
      setup.splice_queues.push_back({.id = i,
                                     .depth = options_.depth,
                                     .max_io_bytes = options_.max_io_bytes,
                                     .device = clones_.back().number()});
    } else if (!uring || i == 0) {
      const bool side = choice_.path != DataPath::copy;
      setup.copy_queues.push_back({.id = i,
                                   .depth = side ? kSideDepth : options_.depth,
                                   .max_io_bytes = options_.max_io_bytes,
                                   .device = file});
    }
    reactors_.push_back(std::make_unique<Reactor>(std::move(setup), io_));
    if (auto started = reactors_.back()->start(); !started) return started;
  }
  return {};
}

// Each reactor has a descriptor of its own: the kernel keeps the requests of each apart.
Result<Descriptor> FuseExport::clone_device() const {
  Descriptor clone(open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  uint32_t session = static_cast<uint32_t>(mount_.device());
  if (clone.valid() && ioctl(clone.number(), abi::kClone, &session) == 0) return clone;
  // It may have been closed to us after the mount: one for all does as well.
  Descriptor shared(fcntl(mount_.device(), F_DUPFD_CLOEXEC, 0));
  if (shared.valid()) return shared;
  return fail(
      errno, fmt::format("cannot duplicate the descriptor of /dev/fuse: {}", std::strerror(errno)));
}

void FuseExport::wait() {
  for (const auto& reactor : reactors_) reactor->join();
}

// The reactors do not wait to hear that the file system is gone: other mount namespaces may keep
// copies of the mount.
Result<void> FuseExport::stop() {
  auto unmounted = mount_.unmount(/*lazily=*/false);
  if (!unmounted) unmounted = mount_.unmount(/*lazily=*/true);
  stop_reactors();
  return unmounted;
}

Result<void> FuseExport::stop_unless_busy() {
  const auto unmounted = mount_.unmount(/*lazily=*/false);
  if (unmounted) stop_reactors();
  if (unmounted || unmounted.error().error != EBUSY) return unmounted;
  return fail(EBUSY,
              fmt::format("{} is in use: close it first, or use --force and lose what is not "
                          "yet written",
                          path()));
}

void FuseExport::stop_reactors() {
  for (const auto& reactor : reactors_) reactor->stop();
}

Result<void> FuseExport::remove() {
  reactors_.clear();
  clones_.clear();
  mount_.close_device();
  const auto unmounted = mount_.unmount(/*lazily=*/true);
  mount_.remove_made_file();
  return unmounted;
}

Result<void> FuseExport::resize(uint64_t size_bytes) {
  const uint64_t available = stack_.geometry().size_bytes;
  if (choice_.path == DataPath::passthrough && size_bytes != available) {
    return fail(EOPNOTSUPP, "a file served by passthrough has the size of its backing file");
  }
  if (size_bytes > available || size_bytes % stack_.geometry().logical_block_bytes != 0) {
    return fail(EINVAL,
                fmt::format("{} cannot have {} bytes: give whole blocks of {}, and at most "
                            "the {} bytes of the stack",
                            path(), size_bytes, stack_.geometry().logical_block_bytes, available));
  }
  file_.resize(size_bytes);
  return {};
}

Result<void> FuseExport::quiesce() {
  if (is_over_uring(choice_.path)) {
    return fail(EOPNOTSUPP,
                "an export over io_uring cannot be handed over: its queues belong to "
                "the rings of this process (use data path copy or passthrough)");
  }
  stop_reactors();
  return {};
}

Result<Handover> FuseExport::let_go() {
  handed_over_ = true;
  reactors_.clear();
  clones_.clear();
  const MountState state{.mount = mount_.record(),
                         .agreement = {.path = choice_.path, .max_io_bytes = options_.max_io_bytes},
                         .backing_id = backing_id_,
                         .queues = options_.queues,
                         .depth = options_.depth,
                         .attributes = file_.attributes()};
  Handover handover{.state = to_json(state), .descriptors = {}};
  handover.descriptors.push_back(mount_.take_device());
  if (mount_.detached()) return handover;
  Viewpoint home = mount_.take_home();
  handover.descriptors.push_back(std::move(home.mount_namespace));
  handover.descriptors.push_back(std::move(home.root));
  return handover;
}

Result<std::vector<InFlight>> FuseExport::in_flight() const {
  std::vector<InFlight> all;
  for (size_t i = 0; i < reactors_.size(); ++i) {
    auto found = reactors_[i]->in_flight();
    if (!found) return found;
    for (InFlight& each : *found) {
      each.queue = static_cast<uint16_t>(i);
      all.push_back(std::move(each));
    }
  }
  return all;
}

std::vector<QueueReport> FuseExport::reports() const {
  std::vector<QueueReport> reports;
  for (const auto& reactor : reactors_) reports.push_back(reactor->report());
  return reports;
}

}  // namespace sluice::fuse
