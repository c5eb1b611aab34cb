// Device: handover to another server, and back.
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "core/step.hpp"
#include "daemon/device.hpp"
#include "daemon/device_name.hpp"
#include "target/file/file_lock.hpp"

namespace sluice {
namespace {

// EBUSY: a third program has locked one meanwhile.
Result<void> lock_files(const Stack& stack) {
  for (const int file : stack.files()) {
    std::error_code error;
    const std::string name =
        std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", file), error);
    const bool for_writing = (fcntl(file, F_GETFL) & O_ACCMODE) != O_RDONLY;
    if (auto locked = lock_file(file, for_writing, name); !locked) return locked;
  }
  return {};
}

}  // namespace

Result<void> Device::check_handover() const {
  auto checked = frontend_->check_handover();
  if (checked) checked = stack_->check_handover();
  if (checked) return checked;
  return fail(checked.error().error, fmt::format("{} cannot be handed over: {}",
                                                 described(record()), checked.error().text));
}

DeviceOffer Device::offer() const {
  return {.record = record(),
          .frontend_state = frontend_->handover_state(),
          .files = {},
          .missing = stack_->missing()};
}

Result<DeviceHandover> Device::let_go() {
  auto given = frontend_->let_go();
  if (!given) return std::unexpected(given.error());
  stack_->stop();
  step("stack stopped");
  return DeviceHandover{.frontend = std::move(*given),
                        .stack_failed = stack_->failed(),
                        .failed_disks = stack_->failed_disks()};
}

// The record names this process unless the other server has written it; only observers use it.
Result<void> Device::resume() {
  if (auto started = stack_->start(); !started) return started;
  if (auto resumed = frontend_->resume(); !resumed) return resumed;
  step("resumed");
  note_server();
  rewrite_record();
  return {};
}

void Device::rewrite_record() const {
  if (auto written = write_record(record()); !written) spdlog::warn("{}", written.error().text);
}

void Device::leave() {
  step("committed");
  log_totals();
  frontend_->leave();
  stack_->own_files(false);
}

Result<void> Device::take(DeviceHandover handover) {
  step("device received");
  if (handover.stack_failed) stack_->note_failure(handover.failed_disks);
  if (handover.files_unlocked) {
    if (auto locked = lock_files(*stack_); !locked) return locked;
    stack_->own_files(true);
  }
  if (frontend_ == nullptr) {
    if (auto adopted = adopt(handover.frontend.state); !adopted) return adopted;
    if (auto prepared = prepare(*listener_); !prepared) return prepared;
  }
  return frontend_->take(std::move(handover.frontend));
}

void Device::settle() {
  step("old server told");
  stack_->own_files(true);
  frontend_->settle();
}

}  // namespace sluice
