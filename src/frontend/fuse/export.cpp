#include "frontend/fuse/export.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/log.hpp"
#include "core/page.hpp"
#include "core/step.hpp"
#include "frontend/fuse/command_ring.hpp"
#include "frontend/fuse/copy_queue.hpp"
#include "frontend/fuse/mounts.hpp"
#include "frontend/fuse/passthrough.hpp"
#include "frontend/fuse/queue_plan.hpp"
#include "frontend/fuse/splice_queue.hpp"
#include "frontend/fuse/uring_queue.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::fuse {
namespace {

constexpr uint16_t kSideDepth = 4;  // tags that read /dev/fuse beside other paths

// Parses "0-7" or "0-3,8-11": returns one more than the highest; 1 if it cannot be read.
uint16_t possible_processors() {
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string list;
  file >> list;
  const size_t last = list.find_last_of("-,");
  const std::string highest = last == std::string::npos ? list : list.substr(last + 1);
  return static_cast<uint16_t>(std::strtoul(highest.c_str(), nullptr, 10) + 1);
}

// Why pages cannot be lent to the stack, or empty.
std::string bars_zero_copy(const Stack& stack, const ExportOptions& options, bool for_loop_device) {
  if (for_loop_device) {
    return "a loop device hands over memory of file systems, which Linux 7.3 frees when it lends "
           "it";
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
  const auto& place = mount.place();
  return {.in_directory = place && place->is_directory(),
          .read_only = geometry.read_only,
          .permissions = (place ? place->permissions() : 0600) & ~writing,
          .uid = place ? place->owner() : 0,
          .gid = place ? place->group() : 0,
          .size_bytes = geometry.data_bytes(),
          .block_bytes = std::max(kPageBytes, geometry.physical_block_bytes)};
}

Result<void> check_options(const ExportOptions& options) {
  const uint32_t bytes = options.max_io_bytes;
  if (bytes < 2 * kPageBytes || bytes > kMaxIoBytes || bytes % kPageBytes != 0) {
    return fail(EINVAL, fmt::format("requests of up to {} bytes are not possible through FUSE: "
                                    "give a multiple of {} from {} to {}",
                                    bytes, kPageBytes, 2 * kPageBytes, kMaxIoBytes));
  }
  if (options.queues != 0 && options.depth != 0) return {};
  return fail(EINVAL, "an export needs at least one queue of depth one");
}

}  // namespace

Result<std::unique_ptr<FuseExport>> FuseExport::make(Stack& stack, ExportOptions options) {
  if (auto checked = check_options(options); !checked) return std::unexpected(checked.error());
  auto point = MountPoint::make({.place = std::move(options.place),
                                 .read_only = stack.geometry().read_only,
                                 .allow_other = options.allow_other,
                                 .max_io_bytes = options.max_io_bytes});
  return finish(stack, std::move(options), std::move(point));
}

Result<std::unique_ptr<FuseExport>> FuseExport::make_detached(Stack& stack, ExportOptions options) {
  options.place.reset();
  return make(stack, std::move(options));
}

Result<std::unique_ptr<FuseExport>> FuseExport::finish(Stack& stack, ExportOptions options,
                                                       Result<MountPoint> mounted) {
  if (!mounted) return std::unexpected(mounted.error());
  std::unique_ptr<FuseExport> made(new FuseExport(stack, std::move(options), std::move(*mounted)));
  if (auto agreed = made->agree(); !agreed) return std::unexpected(agreed.error());
  return made;
}

FuseExport::FuseExport(Stack& stack, ExportOptions options, MountPoint mount)
    : stack_(stack),
      options_(std::move(options)),
      mount_(std::move(mount)),
      file_(shape_of(stack, mount_)),
      io_(stack, file_, options_.max_io_bytes) {}

FuseExport::~FuseExport() {
  stop_reactors();
  reactors_.clear();
  clones_.clear();
  if (handed_over_ || served_) return;  // or another process has it
  mount_.close_fuse_device();           // otherwise the unmount might wait for our replies
  if (!mount_.place()) return;
  // Mounted by the helper, or by a keeper that has died.
  if (!mount_.file_system().empty()) [[maybe_unused]]
    const auto unmounted = fuse::unmount(mount_.file_system(), mount_.by_helper(), /*lazily=*/true);
  mount_.place()->remove();
}

Result<void> FuseExport::agree() {
  auto offer = receive_offer(mount_.fuse_device());
  if (!offer) return std::unexpected(offer.error());
  Agreement agreement{.max_io_bytes = options_.max_io_bytes};
  gather_facts(*offer, agreement);
  auto choice = choose_path(options_.path, facts_);
  if (!choice) return std::unexpected(choice.error());
  choice_ = *choice;
  agreement.path = choice_.path;
  const uint32_t requests = uint32_t{options_.queues} * options_.depth;
  step("kernel has said what it can");
  const auto answer = make_answer(*offer, agreement, requests);
  if (auto sent = send_answer(mount_.fuse_device(), *offer, answer); !sent) return sent;
  if (choice_.path == DataPath::passthrough) return set_up_passthrough();
  file_.use_direct_io();
  return choice_.path == DataPath::uring_zc ? set_up_zero_copy() : Result<void>();
}

// The reply to INIT cannot be withdrawn: everything that the kernel may refuse later is tried
// before.
void FuseExport::gather_facts(const KernelOffer& offer, Agreement& agreement) {
  facts_ = {.kernel_flags = offer.flags,
            .bars_passthrough = bars_passthrough_for_use(stack_, options_.loop_direct_io),
            .bars_zero_copy = bars_zero_copy(stack_, options_, !mount_.place())};
  const auto may_be = [&](DataPath path, uint64_t flag) {
    return options_.path.value_or(path) == path && (offer.flags & flag) != 0;
  };
  if (may_be(DataPath::passthrough, abi::kPassthrough) && facts_.bars_passthrough.empty()) {
    const auto depth = passthrough_depth(stack_);
    if (depth) agreement.stack_depth = *depth;
    if (depth) return;
    facts_.bars_passthrough = depth.error().text;
  }
  if (!may_be(DataPath::uring, abi::kOverIoUring)) return;
  if (auto let_in = try_uring_commands(mount_.fuse_device()); !let_in) {
    facts_.bars_uring = let_in.error().text;
  }
}

Result<void> FuseExport::set_up_zero_copy() {
  auto opened = pools_.open({.device = mount_.fuse_device(),
                             .queues = possible_processors(),
                             .depth = options_.depth,
                             .max_io_bytes = options_.max_io_bytes});
  if (opened) file_.lend_pages();
  return opened;
}

Result<void> FuseExport::set_up_passthrough() {
  auto backing = reopen_for_passthrough(stack_);
  if (!backing) return std::unexpected(backing.error());
  const auto id = give_backing(mount_.fuse_device(), *backing);
  if (!id) return std::unexpected(id.error());
  backing_ = std::move(*backing);
  backing_id_ = *id;
  file_.use_passthrough(backing_id_, backing_.number());
  return {};
}

// --- Threads.

Result<void> FuseExport::prepare(FrontendListener& listener, Keeper& keeper) {
  listener_ = &listener;
  keeper_ = &keeper;
  connection_ = Connection::open(mount_.file_system());
  auto prepared = prepare_reactors();
  if (!prepared && leave_uring(prepared.error())) prepared = prepare_reactors();
  if (!prepared) return prepared;
  if (mount_.fuse_device() >= 0) return {};
  return watch(/*armed=*/false);  // another process still serves it
}

// A ring, its memory or an entry of a queue was refused: makes the kernel use /dev/fuse again.
bool FuseExport::leave_uring(const Error& why) {
  if (options_.path || choice_.path != DataPath::uring) return false;
  reactors_.clear();
  clones_.clear();
  if (!turn_uring_off(mount_.fuse_device())) return false;
  facts_.bars_uring = why.text;
  choice_ = *choose_path({}, facts_);
  return true;
}

Result<void> FuseExport::prepare_reactors() {
  const bool uring = is_over_uring(choice_.path);
  // Beside another path few requests come through /dev/fuse; one reader is enough.
  const uint16_t threads = choice_.path == DataPath::passthrough ? uint16_t{1}
                           : uring ? std::min(options_.queues, possible_processors())
                                   : options_.queues;
  Reactors::List reactors;
  for (uint16_t i = 0; i < threads; ++i) {
    reactors.push_back(std::make_unique<Reactor>(plan_reactor(i, threads), *listener_));
    if (auto prepared = reactors.back()->prepare(); !prepared) return prepared;
    // Each thread has its own descriptor, for which the kernel keeps separate requests.
    clones_.emplace_back(open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  }
  reactors_.set(std::move(reactors));
  return {};
}

Reactor::Setup FuseExport::plan_reactor(uint16_t number, uint16_t threads) {
  const bool uring = is_over_uring(choice_.path);
  const bool splices = choice_.path == DataPath::splice;
  Reactor::Setup setup{.name = fmt::format("sluice-q{}", number),
                       .stacks = {&stack_},
                       .workers = splices ? 0 : stack_.workers(),
                       .wide_sqes = uring};
  setup.files = stack_.registered_files();
  const File device = device_slot_.file();
  setup.files.push_back({.slot = device});
  const uint16_t kernel_queues = uring ? possible_processors() : 0;
  for (uint16_t queue = number; queue < kernel_queues; queue += threads) {
    setup.queues.push_back(plan_queue<UringQueue>(
        {.id = queue,
         .depth = options_.depth,
         .max_io_bytes = options_.max_io_bytes,
         .device = device,
         .reserve_bytes = options_.reserve_bytes,
         .pool = choice_.path == DataPath::uring_zc ? pools_.of(queue) : std::span<std::byte>()},
        io_));
    if (choice_.path == DataPath::uring_zc) setup.queues.back().slots = options_.depth;
  }
  if (splices) {
    setup.queues.push_back(plan_queue<SpliceQueue>(
        {.id = number, .depth = options_.depth, .max_io_bytes = options_.max_io_bytes}, io_));
  } else if (!uring || number == 0) {
    const bool side = choice_.path != DataPath::copy;
    setup.queues.push_back(
        plan_queue<CopyQueue>({.id = number,
                               .depth = side ? kSideDepth : options_.depth,
                               .max_io_bytes = options_.max_io_bytes,
                               .device = device,
                               .reserve_bytes = side ? 0 : options_.reserve_bytes},
                              io_));
  }
  return setup;
}

Result<void> FuseExport::serve() {
  auto served = begin();
  if (!served && leave_uring(served.error())) {
    served = prepare_reactors();
    if (served) served = begin();
  }
  step("requests taken");
  if (served) served = appear();
  served_ = served.has_value();
  if (!served) [[maybe_unused]]
    const auto unmounted = unmount(/*lazily=*/true);
  return served;
}

// If no clone is possible, for instance because access to /dev/fuse was revoked after the mount,
// all threads share one descriptor.
Result<void> FuseExport::begin() {
  for (size_t i = 0; i < reactors_.list().size(); ++i) {
    uint32_t session = static_cast<uint32_t>(mount_.fuse_device());
    const int clone = clones_[i].number();
    const bool cloned = clone >= 0 && ioctl(clone, abi::kClone, &session) == 0;
    auto begun = reactors_.list()[i]->begin(cloned ? clone : mount_.fuse_device());
    if (!begun) return begun;
  }
  return {};
}

// The keeper is still in the caller's mount namespace; afterwards it joins ours.
Result<void> FuseExport::appear() {
  const Descriptor mount = mount_.place() ? mount_.take_mount() : Descriptor();
  if (mount.valid()) {
    const std::array<int, 2> descriptors = {mount.number(), mount_.place()->target()};
    if (const auto placed = keeper_->ask({{"do", "place"}}, descriptors); !placed) {
      return fail(placed.error().error,
                  fmt::format("cannot mount on {}: {}", shown(mount_.place()->path()),
                              placed.error().text));
    }
    step("mounted");
    mount_.place()->close_target();
  }
  return watch(/*armed=*/!handed_over_);
}

// --- Through the keeper.

Result<void> FuseExport::watch(bool armed) {
  const bool can_abort = connection_.can_abort();
  return keeper_->join_us(can_abort ? std::optional(connection_.descriptor()) : std::nullopt,
                          armed);
}

Result<void> FuseExport::change_keeper(Keeper& keeper) {
  keeper_ = &keeper;
  return watch(/*armed=*/true);
}

void FuseExport::settle() {
  handed_over_ = false;
  if (const auto armed = keeper_->ask({{"do", "arm"}}); !armed) {
    log().warn("{}", armed.error().text);
  }
}

// Does nothing if it is no longer mounted. If the unmount does not finish, the connection is
// aborted.
Result<void> FuseExport::unmount(bool lazily) {
  if (!mount_.place()) return {};
  const JsonValue request = {{"do", "unmount"},
                             {"file_system", mount_.file_system()},
                             {"by_helper", mount_.by_helper()},
                             {"lazily", lazily}};
  const auto unmounted = keeper_->ask_patiently(request, [this] { return progress(); });
  if (unmounted) return {};
  if (unmounted.error().error == ETIMEDOUT) connection_.abort();
  return std::unexpected(unmounted.error());
}

// The reactors do not wait for the end of the file system: other namespaces may keep copies of the
// mount.
Result<void> FuseExport::stop(bool even_if_used) {
  auto unmounted = unmount(/*lazily=*/false);
  if (!unmounted && unmounted.error().error == EBUSY && !even_if_used) {
    return fail(EBUSY,
                fmt::format("{} is in use: close it first, or use --force and lose unwritten data",
                            path()));
  }
  if (!unmounted) unmounted = unmount(/*lazily=*/true);
  step("unmounted");
  stop_reactors();
  return unmounted;
}

void FuseExport::stop_reactors() {
  for (const auto& reactor : reactors_.list()) reactor->stop();
}

Result<void> FuseExport::remove() {
  reactors_.clear();
  clones_.clear();
  mount_.close_fuse_device();
  step("FUSE closed");
  const auto unmounted = unmount(/*lazily=*/true);
  if (mount_.place()) mount_.place()->remove();
  return unmounted;
}

Result<void> FuseExport::resize(uint64_t size_bytes) {
  const uint64_t available = stack_.geometry().data_bytes();
  if (choice_.path == DataPath::passthrough && size_bytes != available) {
    return fail(EOPNOTSUPP, "a file served by passthrough has the size of its backing file");
  }
  const bool ends_block = size_bytes % stack_.geometry().logical_block_bytes == 0;
  if (size_bytes > available || (size_bytes != available && !ends_block)) {
    return fail(EINVAL,
                fmt::format("{} cannot have {} bytes: give whole blocks of {}, and at most "
                            "the {} bytes of the stack",
                            path(), size_bytes, stack_.geometry().logical_block_bytes, available));
  }
  file_.resize(size_bytes);
  return {};
}

// Grows while requests are answered.
uint64_t FuseExport::progress() const {
  uint64_t done = 0;
  for (const QueueReport& report : reports()) done += report.requests;
  return done;
}

}  // namespace sluice::fuse
