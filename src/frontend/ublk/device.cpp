#include "frontend/ublk/device.hpp"
#include "core/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/retry.hpp"
#include "core/step.hpp"
#include "frontend/ublk/orders.hpp"
#include "frontend/ublk/parameters.hpp"
#include "frontend/ublk/queue.hpp"
#include "spec/size.hpp"

namespace sluice::ublk {
namespace {

constexpr std::chrono::seconds kNodeTimeout{5};  // for devtmpfs and udev
constexpr std::chrono::seconds kPredecessorTimeout{10};

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
      return {
          EEXIST,
          fmt::format("{} already exists: choose another -n, or delete it with 'sluice del -n {}'",
                      described(options.id), options.id)};
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

// True for errors that may depend on the mode. The number, the permission to make devices and a
// driver that does not answer are the same for all modes.
bool may_be_the_modes_fault(int error) {
  constexpr int kOthers[] = {EEXIST, ENOSPC, ENFILE, ENODEV, ETIMEDOUT, EMFILE};
  return std::ranges::find(kOthers, error) == std::end(kOthers);
}

}  // namespace

Result<std::unique_ptr<UblkDevice>> UblkDevice::add(Stack& stack, const DeviceOptions& options) {
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  std::unique_ptr<UblkDevice> device(new UblkDevice(stack, std::move(*control)));
  device->options_ = options;
  device->options_.mode_options.slots_per_ring = options.depth;
  if (auto created = device->create(); !created) return std::unexpected(created.error());
  return device;
}

Result<std::unique_ptr<UblkDevice>> UblkDevice::adopt(Stack& stack, uint32_t id, BufferMode mode,
                                                      std::optional<uint32_t> reserve_bytes) {
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  std::unique_ptr<UblkDevice> device(new UblkDevice(stack, std::move(*control)));
  device->options_.reserve_bytes = reserve_bytes;
  if (auto looked = device->look_at(id, mode); !looked) return std::unexpected(looked.error());
  return device;
}

UblkDevice::UblkDevice(Stack& stack, std::unique_ptr<Control> control)
    : stack_(stack), control_(std::move(control)) {}

UblkDevice::~UblkDevice() {
  spare_.clear();
  if (!live_) {
    [[maybe_unused]] const bool undone = undo();
  }
  reactors_.clear();
  char_device_ = Descriptor();
}

// Creates the device in the best mode that the kernel does not refuse.
Result<void> UblkDevice::create() {
  while (true) {
    auto mode =
        choose_mode(options_.mode_options, control_->features(), stack_.geometry(), refusals_);
    if (!mode) return std::unexpected(mode.error());
    mode_ = *mode;
    auto created = create_in_mode();
    if (created || !give_up_mode(created.error())) return created;
  }
}

Result<void> UblkDevice::create_in_mode() {
  const DeviceOptions& options = options_;
  const auto parameters =
      make_parameters(stack_.geometry(), options.max_io_bytes, is_zero_copy(mode_.mode));
  if (!parameters) return std::unexpected(parameters.error());

  info_ = {};
  info_.dev_id = options.id;
  info_.queues = options.queues;
  info_.depth = options.depth;
  info_.max_io_buf_bytes = options.max_io_bytes;
  info_.flags =
      abi::kCmdIoctlEncode | abi::kUringCmdCompInTask | mode_.flags | flags_of(options.recovery);
  if (options.mode_options.unprivileged) info_.flags |= abi::kUnprivilegedDev;
  // Features that later commands need; the driver clears unknown ones.
  if (options.recovery != Recovery::none) info_.flags |= abi::kQuiesce & control_->features();
  info_.flags |= abi::kUpdateSize & control_->features();
  if (auto added = control_->add(info_); !added) {
    return std::unexpected(explain_add(added.error(), options));
  }
  step("device added");
  added_ = true;
  options_.id = info_.dev_id;
  if ((mode_.flags & ~info_.flags) != 0) {
    return fail(EOPNOTSUPP, "the ublk driver made the device without the features of this mode");
  }
  // First the node: its owner can access an unprivileged device only once udev has changed the
  // node's owner.
  if (auto opened = open_char_device(); !opened) return opened;
  return control_->set_parameters(info_.dev_id, *parameters);
}

// Removes the device made in this mode. False: another mode would fail as well, or must not be
// tried.
bool UblkDevice::give_up_mode(const Error& why) {
  if (recovering_ || options_.mode_options.named || mode_.mode == BufferMode::copy) return false;
  if (!may_be_the_modes_fault(why.error) || !undo()) return false;
  refusals_[mode_.mode] = why.text;
  return true;
}

// Deletes a device that never went live, which frees its number.
bool UblkDevice::undo() {
  for (const auto& reactor : reactors_.list()) reactor->abandon();
  reactors_.clear();
  char_device_ = Descriptor();
  return !std::exchange(added_, false) || control_->remove(info_.dev_id, true);
}

// Uses only commands that take no lock: see orders.hpp.
Result<void> UblkDevice::look_at(uint32_t id, BufferMode mode) {
  auto info = control_->info(id);
  if (!info) return std::unexpected(info.error());
  info_ = *info;
  recovering_ = true;
  mode_ = {mode, info_.flags, "as it was added"};
  if ((info_.flags & abi::kUserRecovery) == 0) {
    return fail(EINVAL, fmt::format("{} was added without recovery (-r 1): delete it "
                                    "with 'sluice del -n {}' and add it again",
                                    described(id), id));
  }
  const uint64_t device_bytes = size_of_device(id);
  if (device_bytes <= stack_.geometry().size_bytes) return {};
  return fail(EINVAL, fmt::format("{} has {} bytes but its backing now only {}: "
                                  "restore the backing to its size first",
                                  described(id), device_bytes, stack_.geometry().size_bytes));
}

// udev may create the node a moment after the device.
Result<void> UblkDevice::open_char_device() {
  const std::string path = char_device_path(info_.dev_id);
  const Retry retry(kNodeTimeout);
  // O_NONBLOCK: the ring then does explicit copies inline instead of in a worker.
  while (true) {
    char_device_ = Descriptor(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (char_device_.valid()) return {};
    const int error = errno;
    const bool may_come = error == ENOENT || error == EACCES || error == EBUSY;
    if (!may_come || !retry.again()) {
      const char* const advice =
          (info_.flags & abi::kUnprivilegedDev) != 0 && error == EACCES
              ? ": udev did not give it to you (sluice-add(8), UNPRIVILEGED DEVICES); root can "
                "delete the device"
              : "";
      return fail(error, fmt::format("cannot open {}: {}{}", path, std::strerror(error), advice));
    }
  }
}

// --- Serving.

Result<void> UblkDevice::prepare(FrontendListener& listener, Keeper& keeper) {
  listener_ = &listener;
  if (auto changed = change_keeper(keeper); !changed) return changed;
  return fill_reactors();
}

// Tries the next mode if the kernel refuses the requirements of the first.
Result<void> UblkDevice::fill_reactors() {
  while (true) {
    auto reactors = prepare_reactors();
    if (reactors) {
      reactors_.set(std::move(*reactors));
      return {};
    }
    if (!give_up_mode(reactors.error())) return std::unexpected(reactors.error());
    if (auto created = create(); !created) return created;
  }
}

Result<void> UblkDevice::change_keeper(Keeper& keeper) {
  keeper_ = &keeper;
  return keeper.join_us({}, /*armed=*/false);
}

Result<Reactors::List> UblkDevice::prepare_reactors() {
  Reactors::List reactors;
  for (uint16_t i = 0; i < info_.queues; ++i) {
    reactors.push_back(std::make_unique<Reactor>(plan_reactor(i), *listener_));
    if (auto prepared = reactors.back()->prepare(); !prepared) {
      return std::unexpected(prepared.error());
    }
  }
  return reactors;
}

Reactor::Setup UblkDevice::plan_reactor(uint16_t queue) {
  Reactor::Setup setup{
      .name = fmt::format("sluice-q{}", queue), .stacks = {&stack_}, .workers = stack_.workers()};
  setup.files = stack_.registered_files();
  const File char_device = char_slot_.file();
  setup.files.push_back({.slot = char_device});
  if (auto processors = control_->queue_affinity(info_.dev_id, queue); processors) {
    setup.processors = *processors;
  }
  const Queue::Setup plan{.id = queue,
                          .depth = info_.depth,
                          .max_io_bytes = info_.max_io_buf_bytes,
                          .mode = mode_.mode,
                          .user_copy = (info_.flags & abi::kUserCopy) != 0,
                          .reserve_bytes = options_.reserve_bytes,
                          .char_device = char_device};
  setup.queues.push_back(
      {.tags = plan.depth,
       .slots = is_zero_copy(plan.mode) ? plan.depth : 0U,
       .make = [plan, &stack = stack_](KernelRing& ring, QueueListener& reactor) {
         return Queue::create(plan, ring, stack, reactor);
       }});
  return setup;
}

Result<void> UblkDevice::serve() {
  if (recovering_) {
    if (auto started = start_recovery(); !started) return started;
  }
  auto begun = begin();
  while (!begun && give_up_mode(begun.error())) {
    if (auto created = create(); !created) return created;
    if (auto filled = fill_reactors(); !filled) return filled;
    begun = begin();
  }
  if (!begun) return begun;
  step("requests taken");
  const auto live = give_order(*keeper_, {.order = recovering_ ? "end_recovery" : "start",
                                          .id = info_.dev_id,
                                          .value = static_cast<uint64_t>(getpid())});
  live_ = live.has_value();
  if (live_ && !recovering_ && stack_.geometry().needs_stable_pages) ask_for_stable_pages();
  return live;
}

// Nobody has opened it yet, so file systems follow.
void UblkDevice::ask_for_stable_pages() {
  const auto asked = give_order(*keeper_, {.order = "stable_pages", .id = info_.dev_id});
  if (asked) return;
  log().warn("device {}: clients are not asked for stable pages: {}", info_.dev_id,
             asked.error().text);
}

Result<void> UblkDevice::begin() {
  for (const auto& reactor : reactors_.list()) {
    if (auto begun = reactor->begin(char_device_.number()); !begun) return begun;
  }
  return {};
}

// The resources of a killed server are not free at once: its requests in flight keep the character
// device until they have ended.
Result<void> UblkDevice::start_recovery() {
  const Retry retry(kPredecessorTimeout, std::chrono::milliseconds(5));
  while (true) {
    const auto started = give_order(*keeper_, {.order = "start_recovery", .id = info_.dev_id});
    step("recovery started");
    if (started) return open_char_device();
    if (started.error().error != EBUSY) return started;
    if (!retry.again()) {
      return fail(EBUSY, fmt::format("{} still has a server (pid {}): stop that first",
                                     described(info_.dev_id), info_.server_pid));
    }
  }
}

Result<void> UblkDevice::stop(bool even_if_used) {
  const Order order{.order = even_if_used ? "stop" : "stop_unless_busy",
                    .id = info_.dev_id,
                    .value = (info_.flags & abi::kUserRecovery) != 0 ? 1U : 0U};
  return give_order_patiently(*keeper_, order, [this] {
    uint64_t done = 0;
    for (const QueueReport& report : reports()) done += report.requests;
    return done;
  });
}

Result<void> UblkDevice::remove() {
  reactors_.clear();
  char_device_ = Descriptor();
  step("driver's side closed");
  // A program that has it open keeps the id in use.
  return give_order(*keeper_, {.order = "remove", .id = info_.dev_id});
}

Result<void> UblkDevice::resize(uint64_t size_bytes) {
  if ((info_.flags & abi::kUpdateSize) == 0) {
    return fail(EOPNOTSUPP,
                "this kernel's ublk driver cannot change the size of a device: Linux "
                "6.16 can");
  }
  return give_order(*keeper_, {.order = "update_size", .id = info_.dev_id, .value = size_bytes});
}

std::string UblkDevice::path() const { return block_device_path(info_.dev_id); }

}  // namespace sluice::ublk
