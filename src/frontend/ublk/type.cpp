// kUblkFrontend: /dev/ublkbN, by the kernel's ublk driver.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "core/retry.hpp"
#include "frontend/load_module.hpp"
#include "frontend/types.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/control.hpp"
#include "frontend/ublk/device.hpp"
#include "frontend/ublk/orders.hpp"

namespace sluice {
namespace ublk {
namespace {

static_assert(kQueuesMax == abi::kMaxQueues && kQueueDepthMax == abi::kMaxQueueDepth &&
              kIoBytesMax == abi::kMaxIoBytes);

constexpr std::chrono::seconds kQuickerTimeout{2};  // for another process to finish deleting it

constexpr FrontendOption kOptions[] = {
    {.name = "zerocopy", .letter = 'z', .help = "fail rather than copy the data"},
    {.name = "need_get_data",
     .kind = FrontendOption::Kind::on_off,
     .letter = 'g',
     .value = "0|1",
     .help = "with 1, same as --mode get_data",
     .mode = "get_data",
     .off_asks_nothing = true},
    {.name = "usercopy", .help = "same as --mode user_copy", .mode = "user_copy"},
    {.name = "user_recovery",
     .kind = FrontendOption::Kind::on_off,
     .letter = 'r',
     .value = "0|1",
     .help = "outlive the server: requests wait for the next one",
     .off_asks_nothing = true},
    {.name = "user_recovery_reissue",
     .kind = FrontendOption::Kind::on_off,
     .letter = 'i',
     .value = "0|1",
     .help = "with -r 1: repeat requests in flight as well",
     .off_asks_nothing = true},
    {.name = "user_recovery_fail_io",
     .kind = FrontendOption::Kind::on_off,
     .letter = 'e',
     .value = "0|1",
     .help = "with -r 1: fail requests until the next server is ready",
     .off_asks_nothing = true},
    {.name = "unprivileged", .help = "make a device without root"},
};

constexpr KernelNumbers kNumbers = {
    .all = Control::ids,
    .has = [](uint32_t id) { return access(char_device_path(id).c_str(), F_OK) == 0; },
    .path = block_device_path};

Result<Recovery> recovery_in(const NamedValues& own) {
  const bool reissue = own.flag("user_recovery_reissue");
  const bool fail_io = own.flag("user_recovery_fail_io");
  if (reissue && fail_io) {
    return fail(EINVAL,
                "-i 1 (repeat requests) and -e 1 (fail them) exclude each other: choose one");
  }
  if ((reissue || fail_io) && !own.flag("user_recovery")) {
    return fail(EINVAL, fmt::format("{} selects how to recover, which also needs -r 1",
                                    reissue ? "-i 1" : "-e 1"));
  }
  if (reissue) return Recovery::reissue;
  if (fail_io) return Recovery::fail_io;
  return own.flag("user_recovery") ? Recovery::wait : Recovery::none;
}

Result<void> check_options(FrontendOptions& options) {
  const auto recovery = recovery_in(options.own);
  if (!recovery) return std::unexpected(recovery.error());
  options.recovery = *recovery;
  options.unprivileged = options.own.flag("unprivileged");
  const auto mode = parse_mode(options.mode);
  if (options.own.flag("zerocopy") && mode && !is_zero_copy(*mode)) {
    return fail(EINVAL, fmt::format("-z requires zero copy, but mode '{}' copies: drop one of them",
                                    options.mode));
  }
  if (!options.unprivileged || options.recovery == Recovery::none) return {};
  return fail(EINVAL,
              "--unprivileged and -r 1 exclude each other: the driver lets no unprivileged device "
              "outlive its server");
}

Result<void> check_usable() {
  auto control = Control::open();
  if (!control && control.error().error == ENODEV) {
    load_module("ublk_drv");
    control = Control::open();
  }
  return control ? Result<void>() : std::unexpected(control.error());
}

class Plan final : public FrontendPlan {
 public:
  Plan(Stack& stack, const FrontendOptions& options)
      : stack_(stack),
        options_{.queues = options.queues,
                 .depth = options.depth,
                 .max_io_bytes = options.max_io_bytes,
                 .reserve_bytes = options.reserve_bytes,
                 .recovery = options.recovery,
                 .mode_options = {.named = parse_mode(options.mode),
                                  .zero_copy_required = options.own.flag("zerocopy"),
                                  .unprivileged = options.unprivileged}} {}

  Result<std::unique_ptr<Frontend>> make(uint32_t id) override {
    options_.id = id;
    return UblkDevice::add(stack_, options_);
  }

 private:
  Stack& stack_;
  DeviceOptions options_;
};

Result<std::unique_ptr<FrontendPlan>> plan(Stack& stack, const FrontendOptions& options) {
  return std::make_unique<Plan>(stack, options);
}

Result<std::unique_ptr<Frontend>> recover(Stack& stack, const FrontendRecord& record) {
  const auto mode = parse_mode(record.mode);
  if (mode) return UblkDevice::adopt(stack, record.id, *mode, record.reserve_bytes);
  return fail(EINVAL, fmt::format("the state file of device {} names a mode '{}' that does not "
                                  "exist",
                                  record.id, record.mode));
}

// The record is enough.
Result<std::unique_ptr<Frontend>> adopt(Stack& stack, const FrontendRecord& record,
                                        const std::string& /*state*/) {
  return recover(stack, record);
}

bool has_remains(const FrontendRecord& record) { return kNumbers.has(record.id); }

// A separate process does it, because the driver may block it for any time.
Result<void> clear_remains(const FrontendRecord& record, bool even_if_used) {
  auto keeper = Keeper::start();
  if (!keeper) return std::unexpected(keeper.error());
  const char* const stop = even_if_used ? "stop" : "stop_unless_busy";
  const auto stopped = give_order(**keeper, {.order = stop, .id = record.id});
  if (!stopped && stopped.error().error != ENODEV) return stopped;
  const auto removed = give_order(**keeper, {.order = "remove", .id = record.id});
  if (removed || removed.error().error == ENODEV) return {};
  // The device's own server may have been quicker.
  const bool gone = wait_until(kQuickerTimeout, [&record] {
    return !std::ranges::binary_search(Control::ids(), record.id);
  });
  return gone ? Result<void>() : removed;
}

}  // namespace
}  // namespace ublk

constinit const FrontendType kUblkFrontend = {.name = "ublk",
                                              .options = ublk::kOptions,
                                              .modes = ublk::mode_names,
                                              .numbers = &ublk::kNumbers,
                                              .check_options = ublk::check_options,
                                              .check_usable = ublk::check_usable,
                                              .plan = ublk::plan,
                                              .recover = ublk::recover,
                                              .adopt = ublk::adopt,
                                              .has_remains = ublk::has_remains,
                                              .clear_remains = ublk::clear_remains};

}  // namespace sluice
