#include "daemon/device.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "daemon/device_id.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kNodePatience{5};
constexpr std::chrono::seconds kPredecessorPatience{10};

// What a killed server held is not free at once: its requests in flight keep its files, with their
// locks, and the driver's side of the device until they have ended.
template <typename Attempt>
auto once_let_go(Attempt attempt) {
  const auto give_up = std::chrono::steady_clock::now() + kPredecessorPatience;
  while (true) {
    auto result = attempt();
    if (result || result.error().error != EBUSY) return result;
    if (std::chrono::steady_clock::now() > give_up) return result;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// What is known before the device exists.
DeviceRecord record_of(const ServeOptions& options) {
  const ublk::DeviceOptions& device = options.frontend.device;
  DeviceRecord record;
  record.spec = options.spec;
  record.read_only = options.read_only;
  record.queues = device.queues;
  record.depth = device.depth;
  record.max_io_bytes = device.max_io_bytes;
  record.at = options.frontend.at;
  record.recovery = to_string(device.recovery);
  record.unprivileged = device.wish.unprivileged;
  record.debug_mask = options.debug_mask;
  return record;
}

}  // namespace

Result<std::unique_ptr<Device>> Device::add(const ServeOptions& options) {
  const auto choice = choose_frontend(options.frontend);
  if (!choice) return std::unexpected(choice.error());
  if (!choice->reason.empty()) {
    spdlog::info("front end {}: {}", to_string(choice->kind), choice->reason);
  }
  auto stack = Stack::open(options.spec, options.read_only);
  if (!stack) return std::unexpected(stack.error());
  (*stack)->trace_requests((options.debug_mask & kDebugRequests) != 0);
  std::unique_ptr<Device> device(new Device(std::move(*stack), record_of(options)));
  device->record_.frontend = to_string(choice->kind);
  FrontendOptions frontend = options.frontend;
  frontend.kind = choice->kind;
  if (auto made = device->make_frontend(frontend); !made) {
    return std::unexpected(made.error());
  }
  return device;
}

Result<std::unique_ptr<Device>> Device::recover(const DeviceRecord& record) {
  auto stack = once_let_go([&] { return Stack::open(record.spec, record.read_only); });
  if (!stack) return std::unexpected(stack.error());
  (*stack)->trace_requests((record.debug_mask & kDebugRequests) != 0);
  std::unique_ptr<Device> device(new Device(std::move(*stack), record));
  auto frontend = once_let_go([&] { return recover_frontend(*device->stack_, record); });
  if (!frontend) return std::unexpected(frontend.error());
  device->frontend_ = std::move(*frontend);
  return device;
}

Device::Device(std::unique_ptr<Stack> stack, DeviceRecord record)
    : stack_(std::move(stack)), record_(std::move(record)) {}

Device::~Device() {
  frontend_.reset();
  if (claimed_ && !served_) remove_record(record_.id);
}

// The record is written as soon as there is an id, so that nobody else takes it.
Result<void> Device::make_frontend(const FrontendOptions& options) {
  const auto lock = StateLock::take();
  if (!lock) return std::unexpected(lock.error());
  FrontendOptions with_id = options;
  Result<std::unique_ptr<Frontend>> made = fail(EEXIST, {});
  for (uint32_t id = 0; !made && made.error().error == EEXIST; ++id) {
    const auto free = free_id(options.device.id, id);
    if (!free) return std::unexpected(free.error());
    with_id.device.id = id = *free;
    made = sluice::make_frontend(*stack_, with_id);
    if (options.device.id != ublk::kAnyId) break;
  }
  if (!made) return std::unexpected(made.error());
  frontend_ = std::move(*made);
  record_.id = with_id.device.id;
  note_server();
  auto written = write_record(record_);
  claimed_ = written.has_value();
  return written;
}

Result<void> Device::serve() {
  if (auto served = frontend_->serve(); !served) return served;
  served_ = true;
  note_server();
  if (auto written = write_record(record_); !written) return written;
  return wait_until_openable();
}

void Device::note_server() {
  record_.pid = getpid();
  record_.pid_started = process_start_time(record_.pid).value_or(0);
  record_.path = frontend_->path();
  record_.mode = frontend_->mode_name();
  record_.mode_reason = frontend_->mode_reason();
  record_.size_bytes = stack_->geometry().size_bytes;
  record_.block_bytes = stack_->geometry().logical_block_bytes;
  record_.threads.clear();
  for (const QueueReport& report : frontend_->reports()) {
    record_.threads.push_back(report.thread_id);
  }
  if (!record_.threads.empty()) record_.queues = static_cast<uint16_t>(record_.threads.size());
}

// It is live; udev may still be making its node, or giving it to its owner.
Result<void> Device::wait_until_openable() const {
  const std::string path = frontend_->path();
  const int access_wanted = stack_->geometry().read_only ? R_OK : R_OK | W_OK;
  const auto give_up = std::chrono::steady_clock::now() + kNodePatience;
  while (access(path.c_str(), access_wanted) != 0) {
    if (std::chrono::steady_clock::now() > give_up) {
      return fail(errno, fmt::format("{} could not be opened within {} seconds ({}): is udev "
                                     "running, or devtmpfs mounted on /dev?",
                                     path, kNodePatience.count(), std::strerror(errno)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

void Device::remove() {
  log_totals();
  // Whoever deletes the device does this too; the one that comes second finds it gone.
  const auto removed = frontend_->remove();
  if (!removed && removed.error().error != ENODEV) spdlog::warn("{}", removed.error().text);
  remove_record(record_.id);
}

void Device::log_totals() const {
  for (const QueueReport& report : frontend_->reports()) {
    spdlog::info("device {}: {} requests, {} errors, {} bytes copied, {} arena overflows", id(),
                 report.requests, report.errors, report.copied_bytes, report.arena_overflows);
  }
}

}  // namespace sluice
