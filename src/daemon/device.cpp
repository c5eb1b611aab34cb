#include "daemon/device.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "core/retry.hpp"
#include "core/step.hpp"
#include "daemon/device_event.hpp"
#include "daemon/device_id.hpp"
#include "daemon/device_name.hpp"
#include "daemon/log.hpp"
#include "daemon/name_link.hpp"
#include "daemon/open_when_there.hpp"
#include "daemon/same_backing.hpp"
#include "daemon/swap_risks.hpp"
#include "target/open_context.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kNodeTimeout{5};
constexpr std::chrono::seconds kPredecessorTimeout{10};

// Repeats an attempt that fails with EBUSY, for a while: the requests in flight of a killed server
// keep its files, with their locks, and the driver's side of its device in use until they end.
template <typename Attempt>
auto once_let_go(Attempt attempt) {
  const Retry retry(kPredecessorTimeout, std::chrono::milliseconds(5));
  while (true) {
    auto result = attempt();
    if (result || result.error().error != EBUSY || !retry.again()) return result;
  }
}

// If two commands recover a device, the server of the faster command keeps the files.
Result<void> check_not_served(const DeviceRecord& left) {
  const auto now = read_record(left.id);
  if (!now || is_same_server(*now, left) || !server_alive(*now)) return {};
  return fail(EALREADY, fmt::format("{} is being served by process {}: there is nothing to recover",
                                    described(*now), now->pid));
}

// The fields that are known before the device exists.
DeviceRecord record_of(const ServeOptions& options) {
  const FrontendOptions& frontend = options.frontend;
  DeviceRecord record;
  record.name = options.name;
  record.spec = options.spec;
  record.read_only = options.read_only;
  record.forced = options.force;
  record.queues = frontend.queues;
  record.depth = frontend.depth;
  record.max_io_bytes = frontend.max_io_bytes;
  record.reserve_bytes = frontend.reserve_bytes;
  record.recovery = to_string(frontend.recovery);
  record.unprivileged = frontend.unprivileged;
  record.user = frontend.user;
  record.debug_mask = options.debug_mask;
  record.poll_us = options.poll_us;
  return record;
}

}  // namespace

// --- Creation.

Result<std::unique_ptr<Device>> Device::add(const ServeOptions& options) {
  const auto choice = choose_frontend(options.frontend);
  if (!choice) return std::unexpected(choice.error());
  if (!choice->reason.empty()) {
    spdlog::info("front end {}: {}", choice->type->name, choice->reason);
  }
  const auto open = [&] { return open_when_there(options, choice->type->serves_bytes); };
  auto stack = options.resume ? once_let_go(open) : open();
  if (!stack) return std::unexpected(stack.error());
  step("stack opened");
  (*stack)->trace_requests((options.debug_mask & kDebugRequests) != 0);
  (*stack)->set_idle_poll(std::chrono::microseconds(options.poll_us));
  auto files = (*stack)->fingerprints();
  if (!files) return std::unexpected(files.error());
  std::unique_ptr<Device> device(new Device(std::move(*stack), record_of(options)));
  device->record_.frontend = choice->type->name;
  device->record_.files = std::move(*files);
  device->record_.size_bytes = device->stack_->geometry().data_bytes();
  device->record_.block_bytes = device->stack_->geometry().logical_block_bytes;
  FrontendOptions frontend = options.frontend;
  frontend.type = choice->type;
  frontend.max_io_bytes = choice->type->io_bytes(frontend.max_io_bytes);
  device->record_.max_io_bytes = frontend.max_io_bytes;
  if (auto made = device->make_frontend(frontend); !made) {
    return std::unexpected(made.error());
  }
  return device;
}

// The record is written first: if the server dies later, it says where the remains are.
Result<void> Device::make_frontend(const FrontendOptions& options) {
  const FrontendType& type = *options.type;
  if (stack_->disks().size() > 1 && !type.serves_many) {
    return fail(EINVAL, fmt::format("front end {} serves one disk, and the spec has {}: serve them "
                                    "by NBD, or make a device of each",
                                    type.name, stack_->disks().size()));
  }
  auto plan = type.plan(*stack_, options);
  if (!plan) return std::unexpected(plan.error());
  record_.at = (*plan)->at();
  record_.traces = (*plan)->traces();
  const bool named = options.id != kAnyId;
  const Retry retry(kPredecessorTimeout, std::chrono::milliseconds(5));
  uint32_t wanted = named ? options.id : 0;
  while (!frontend_) {
    if (auto claimed = claim_id(wanted, named); !claimed) return claimed;
    step("number claimed");
    auto made = (*plan)->make(id_);
    if (made) {
      frontend_ = std::move(*made);
      break;
    }
    forget();
    // The kernel still has a device of this number, which was deleted just now, but which a
    // program, such as udev, has open.
    if (type.numbers == nullptr || made.error().error != EEXIST) {
      return std::unexpected(made.error());
    }
    if (!named) {
      wanted = id_ + 1;
    } else if (!retry.again()) {
      return fail(EBUSY,
                  fmt::format("device {} was deleted, but a program still has {} open: close "
                              "it, or choose another -n",
                              id_, type.numbers->path(id_)));
    }
  }
  step("front end made");
  record_.traces = frontend_->traces();
  record_.path = frontend_->path();
  note_server();
  auto written = write_record(record_);
  step("front end recorded");
  return written;
}

// If not `named`, claims the lowest free number from `wanted` on.
Result<void> Device::claim_id(uint32_t wanted, bool named) {
  const auto lock = StateLock::take();
  if (!lock) return std::unexpected(lock.error());
  if (auto claimed = claim_name(record_.name, *lock); !claimed) return claimed;
  const auto free = named ? free_id(wanted, 0) : free_id(kAnyId, wanted);
  if (!free) return std::unexpected(free.error());
  id_ = record_.id = *free;
  note_process();
  auto written = write_record(record_);
  claimed_ = written.has_value();
  return written;
}

Result<std::unique_ptr<Device>> Device::recover(const DeviceRecord& record) {
  auto stack = once_let_go([&]() -> Result<std::unique_ptr<Stack>> {
    if (auto free = check_not_served(record); !free) return std::unexpected(free.error());
    OpenContext context(record.read_only, record.forced);
    context.let_clients_address_bytes(serves_bytes(record));
    context.set_outlives_server(true);
    return Stack::open(record.spec, context);
  });
  if (!stack) return std::unexpected(stack.error());
  if (const auto same = (*stack)->check_recovery(); !same) {
    return fail(same.error().error,
                fmt::format("{} cannot be recovered: {}", described(record), same.error().text));
  }
  if (auto same = check_same_files(**stack, record); !same) return std::unexpected(same.error());
  if (auto fits = check_fits((*stack)->geometry(), record); !fits) {
    return std::unexpected(fits.error());
  }
  auto files = (*stack)->fingerprints();
  if (!files) return std::unexpected(files.error());
  (*stack)->trace_requests((record.debug_mask & kDebugRequests) != 0);
  (*stack)->set_idle_poll(std::chrono::microseconds(record.poll_us));
  auto frontend = recover_frontend(**stack, record);
  if (!frontend) return std::unexpected(frontend.error());
  std::unique_ptr<Device> device(new Device(std::move(*stack), record));
  device->record_.files = std::move(*files);
  device->frontend_ = std::move(*frontend);
  return device;
}

Result<std::unique_ptr<Device>> Device::take_over(DeviceOffer offer) {
  const DeviceRecord& record = offer.record;
  OpenContext context(record.read_only,
                      {.files = std::move(offer.files), .missing = std::move(offer.missing)});
  context.let_clients_address_bytes(serves_bytes(record));
  context.set_outlives_server(record.recovery != to_string(Recovery::none));
  auto stack = Stack::open(record.spec, context);
  if (!stack) return std::unexpected(stack.error());
  if (auto fits = check_fits((*stack)->geometry(), record); !fits) {
    return std::unexpected(fits.error());
  }
  (*stack)->trace_requests((record.debug_mask & kDebugRequests) != 0);
  (*stack)->set_idle_poll(std::chrono::microseconds(record.poll_us));
  std::unique_ptr<Device> device(new Device(std::move(*stack), record));
  if (record.files.empty()) {  // of the first release
    auto files = device->stack_->fingerprints();
    if (!files) return std::unexpected(files.error());
    device->record_.files = std::move(*files);
  }
  if (!offer.frontend_state) return device;
  if (auto adopted = device->adopt(*offer.frontend_state); !adopted) {
    return std::unexpected(adopted.error());
  }
  return device;
}

Result<void> Device::adopt(const std::string& frontend_state) {
  auto frontend = adopt_frontend(*stack_, record_, frontend_state);
  if (!frontend) return std::unexpected(frontend.error());
  frontend_ = std::move(*frontend);
  record_.traces = frontend_->traces();
  record_.path = frontend_->path();
  return {};
}

Device::Device(std::unique_ptr<Stack> stack, DeviceRecord record)
    : stack_(std::move(stack)), record_(std::move(record)), id_(record_.id) {}

Device::~Device() {
  frontend_.reset();
  if (claimed_ && !served_) forget();
}

void Device::forget() {
  claimed_ = false;
  finish_logging();  // its thread may be about to make the file, which must go, too
  if (auto removed = remove_record(record_); !removed) spdlog::warn("{}", removed.error().text);
}

void Device::note_process() {
  const ProcessMark process = this_process();
  record_.pid = process.pid;
  record_.pid_started = process.started;
  record_.pid_scope = process.scope;
}

// --- Serving.

Result<void> Device::hire_keeper() {
  auto keeper = Keeper::start();
  if (!keeper) return std::unexpected(keeper.error());
  keeper_ = std::move(*keeper);
  step("keeper hired");
  return {};
}

Result<void> Device::mind_keeper() {
  if (!keeper_ || keeper_->alive()) return {};
  spdlog::warn("device {}: its keeper has died and is replaced", id_);
  auto next = Keeper::start();
  if (!next) return std::unexpected(next.error());
  keeper_.swap(*next);
  if (auto changed = frontend_->change_keeper(*keeper_); !changed) return changed;
  emit({.kind = kKeeperReplaced, .text = "its keeper had died"});
  if (!served_) return {};
  {  // change_keeper() may have changed them
    const std::scoped_lock guard(mutex_);
    record_.traces = frontend_->traces();
  }
  note_server();
  rewrite_record();
  return {};
}

// Not alive(): a dying keeper has closed its descriptors before its end can be seen.
bool Device::revive() {
  if (!keeper_ || keeper_->answers()) return false;
  const auto minded = mind_keeper();
  if (!minded) spdlog::error("device {} is lost: {}", id_, minded.error().text);
  return minded && !has_ended();
}

Result<void> Device::prepare(FrontendListener& listener) {
  listener_ = &listener;
  if (frontend_ == nullptr) return {};  // take() does it
  if (auto prepared = frontend_->prepare(listener, *keeper_); !prepared) return prepared;
  step("prepared");
  note_server();
  if (claimed_) return {};
  auto draft = RecordDraft::write(record_);
  if (!draft) return std::unexpected(draft.error());
  draft_ = std::move(*draft);
  return {};
}

// The path of a loop device is known only after it is served. The record of a device that is taken
// over was complete before: nothing may fail once that is served.
Result<void> Device::serve() {
  if (auto started = stack_->start(); !started) return started;
  step("stack started");
  if (auto served = frontend_->serve(); !served) return served;
  step("served");
  served_ = true;
  record_.traces = frontend_->traces();
  record_.path = frontend_->path();
  note_server();
  if (claimed_) {
    auto written = write_record(record_);
    return written ? wait_until_openable() : written;
  }
  if (const auto published = draft_->publish(); !published) {
    spdlog::warn("{}", published.error().text);
  }
  step("record taken over");
  return {};
}

void Device::note_server() {
  const std::scoped_lock guard(mutex_);
  note_process();
  record_.mode = frontend_->mode_name();
  record_.mode_reason = frontend_->mode_reason();
  record_.size_bytes = stack_->geometry().data_bytes();
  record_.block_bytes = stack_->geometry().logical_block_bytes;
  record_.threads.clear();
  const std::vector<QueueReport> reports = frontend_->reports();
  for (const QueueReport& report : reports) record_.threads.push_back(report.thread_id);
  record_.swap_risks = swap_risks(record_.path, *stack_, reports);
  if (!record_.threads.empty()) record_.queues = static_cast<uint16_t>(record_.threads.size());
  StackHealth health = stack_->health();
  record_.health = health.state;
  record_.health_reason = std::move(health.reason);
}

void Device::note_health() {
  StackHealth health = stack_->health();
  if (health.state == record_.health && health.reason == record_.health_reason) return;
  {
    const std::scoped_lock guard(mutex_);
    record_.health = health.state;
    record_.health_reason = std::move(health.reason);
  }
  rewrite_record();
}

// The device is live, but udev may still be making its node or changing the node's owner. A file is
// there at once, and its own server must not look at it.
Result<void> Device::wait_until_openable() const {
  if (!is_block_device(record_)) return {};
  const std::string& path = record_.path;
  const int access_wanted = stack_->geometry().read_only ? R_OK : R_OK | W_OK;
  const Retry retry(kNodeTimeout);
  while (access(path.c_str(), access_wanted) != 0) {
    const int error = errno;
    if (!retry.again()) {
      return fail(error, fmt::format("{} could not be opened within {} seconds ({}): is udev "
                                     "running, or devtmpfs mounted on /dev?",
                                     path, kNodeTimeout.count(), std::strerror(error)));
    }
  }
  return {};
}

Result<void> Device::stop(bool even_if_used) {
  if (auto minded = mind_keeper(); !minded) return minded;
  // Its users may wait for a server that does not answer.
  if (even_if_used) note_end_of(stack_->root());
  return frontend_->stop(even_if_used);
}

void Device::remove() {
  step("ended");
  log_totals();
  if (const auto minded = mind_keeper(); !minded) spdlog::debug("{}", minded.error().text);
  // The command that deletes the device does this, too; the later of the two gets ENODEV.
  const auto removed = frontend_->remove();
  if (!removed && removed.error().error != ENODEV) spdlog::warn("{}", removed.error().text);
  step("front end removed");
  note_end_of(stack_->root());
  stack_->stop();
  step("stack stopped");
  remove_name_link(record_);
  forget();
  step("record removed");
}

void Device::log_totals() const {
  for (const QueueReport& report : reports()) {
    spdlog::info("device {}: {} requests, {} errors, {} bytes copied, {} arena overflows", id(),
                 report.requests, report.errors, report.copied_bytes, report.arena_overflows);
  }
}

// --- Any thread.

DeviceRecord Device::record() const {
  const std::scoped_lock guard(mutex_);
  return record_;
}

}  // namespace sluice
