#include "daemon/frontends.hpp"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "frontend/fuse/export.hpp"
#include "frontend/loop/loop_device.hpp"
#include "frontend/ublk/control.hpp"

namespace sluice {
namespace {

constexpr std::string_view kNames[] = {"ublk", "loop", "fuse"};

// As root, and where the machine has the module; whether it helped is seen when it is used.
void load_module(const char* name) {
  if (geteuid() != 0) return;
  const char* const arguments[] = {"modprobe", "-q", name, nullptr};
  pid_t child = 0;
  if (posix_spawnp(&child, arguments[0], nullptr, nullptr, const_cast<char* const*>(arguments),
                   environ) == 0) {
    waitpid(child, nullptr, 0);
  }
}

fuse::ExportOptions file_options(const FrontendOptions& options) {
  return {.at = options.at,
          .queues = options.device.queues,
          .depth = options.device.depth,
          .max_io_bytes = std::min(options.device.max_io_bytes, fuse::kMaxIoBytes),
          .path = options.path,
          .allow_other = options.allow_other};
}

Result<std::unique_ptr<Frontend>> recover_ublk(Stack& stack, const DeviceRecord& record) {
  const auto mode = ublk::parse_mode(record.mode);
  if (!mode) {
    return fail(EINVAL, fmt::format("the state file of device {} names a mode '{}' that does not "
                                    "exist",
                                    record.id, record.mode));
  }
  return ublk::UblkDevice::recover(stack, record.id, *mode);
}

}  // namespace

std::string_view to_string(FrontendKind kind) { return kNames[static_cast<size_t>(kind)]; }

std::optional<FrontendKind> parse_frontend(std::string_view name) {
  const auto* const found = std::ranges::find(kNames, name);
  if (found == std::end(kNames)) return std::nullopt;
  return static_cast<FrontendKind>(found - std::begin(kNames));
}

std::span<const std::string_view> frontend_names() { return kNames; }

Result<FrontendChoice> choose_frontend(const FrontendOptions& options) {
  if (options.kind) return FrontendChoice{*options.kind, {}};
  auto control = ublk::Control::open();
  if (!control && control.error().error == ENODEV) {
    load_module("ublk_drv");
    control = ublk::Control::open();
  }
  if (control) return FrontendChoice{FrontendKind::ublk, "this kernel has the ublk driver"};
  for (const char* const name : {"fuse", "loop"}) load_module(name);
  if (const auto usable = loop::check_usable(); !usable) {
    return fail(usable.error().error, fmt::format("{}; and for a loop device over FUSE, {}",
                                                  control.error().text, usable.error().text));
  }
  const bool has_none = control.error().error == ENODEV;
  return FrontendChoice{FrontendKind::loop,
                        has_none ? "this kernel has no ublk driver" : control.error().text};
}

Result<std::unique_ptr<Frontend>> make_frontend(Stack& stack, const FrontendOptions& options) {
  switch (*options.kind) {
    case FrontendKind::ublk:
      return ublk::UblkDevice::add(stack, options.device);
    case FrontendKind::fuse:
      return fuse::FuseExport::mount(stack, file_options(options));
    case FrontendKind::loop:
      return loop::LoopDevice::make(
          stack, {.file = file_options(options), .direct_io = !options.buffered_loop});
  }
  std::unreachable();
}

bool has_remains(const DeviceRecord& record) {
  if (record.frontend == to_string(FrontendKind::ublk)) {
    return access(ublk::char_device_path(record.id).c_str(), F_OK) == 0;
  }
  return record.frontend == to_string(FrontendKind::fuse) && fuse::is_dead_mount(record.at);
}

Result<void> clear_remains(const DeviceRecord& record) {
  // A loop device ends with the last one who has it open; its file was mounted nowhere.
  if (record.frontend != to_string(FrontendKind::fuse)) return {};
  return fuse::clear_dead_mount(record.at, record.made);
}

Result<std::unique_ptr<Frontend>> take_over_frontend(Stack& stack, const DeviceRecord& record,
                                                     Handover handover) {
  const auto kind = parse_frontend(record.frontend);
  if (kind == FrontendKind::ublk) return recover_ublk(stack, record);
  if (handover.descriptors.empty()) {
    return fail(EINVAL, fmt::format("device {} cannot be recovered: {} does not outlive its "
                                    "server, delete it with 'sluice del -n {}' and add it again",
                                    record.id, record.path, record.id));
  }
  if (kind == FrontendKind::loop) return loop::LoopDevice::adopt(stack, std::move(handover));
  return fuse::FuseExport::adopt(stack, std::move(handover));
}

}  // namespace sluice
