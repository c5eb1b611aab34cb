#include "daemon/device.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "daemon/device_id.hpp"
#include "daemon/in_flight_json.hpp"
#include "daemon/process.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kNodePatience{5};
constexpr std::chrono::seconds kPredecessorPatience{10};
constexpr std::chrono::seconds kQuiescePatience{30};    // for the requests in flight
constexpr std::chrono::seconds kSuccessorPatience{20};  // for the next server to be live

constexpr const char* kBetweenServers = "the device is being handed to another server: try again";

// What a killed server held is not free at once: its requests in flight keep its files, with their
// locks, and the driver's side of the device until they have ended. Nor is the number of a device
// that was deleted while udev looked at it.
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

std::unexpected<Error> cannot_move(uint32_t id, const Error& why) {
  return fail(why.error, fmt::format("no other server can have device {}: {}", id, why.text));
}

// From where its paths were meant: this process may have let go of the mounts that they lead to. A
// dead server may have taken with it what was in its memory.
Result<std::unique_ptr<Stack>> open_stack_again(const DeviceRecord& record) {
  Result<std::unique_ptr<Stack>> stack;
  Result<void> same;
  const auto went = home().run([&] {
    stack = Stack::open(record.spec, record.read_only);
    if (stack) same = (*stack)->check_reopening();
  });
  if (!went) return std::unexpected(went.error());
  if (stack && !same) return cannot_move(record.id, same.error());
  return stack;
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
  record.made = !record.at.empty() && access(record.at.c_str(), F_OK) != 0 && errno == ENOENT;
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
  const auto make = [&] { return device->make_frontend(frontend); };
  const bool named = choice->kind == FrontendKind::ublk && frontend.device.id != ublk::kAnyId;
  if (auto made = named ? once_let_go(make) : make(); !made) return std::unexpected(made.error());
  return device;
}

Result<std::unique_ptr<Device>> Device::take_over(const DeviceRecord& record, Handover handover) {
  std::unique_ptr<Device> device(new Device(nullptr, record));
  device->id_ = record.id;
  if (auto opened = device->open_again(std::move(handover)); !opened) {
    return std::unexpected(opened.error());
  }
  return device;
}

Result<void> Device::open_again(Handover handover) {
  auto stack = once_let_go([&] { return open_stack_again(record_); });
  if (!stack) return std::unexpected(stack.error());
  (*stack)->trace_requests((record_.debug_mask & kDebugRequests) != 0);
  auto frontend = once_let_go([&]() -> Result<std::unique_ptr<Frontend>> {
    auto copy = duplicate(handover);
    if (!copy) return std::unexpected(copy.error());
    return take_over_frontend(**stack, record_, std::move(*copy));
  });
  if (!frontend) return std::unexpected(frontend.error());
  const std::scoped_lock guard(mutex_);
  stack_ = std::move(*stack);
  frontend_ = std::move(*frontend);
  return {};
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
  if (!made && made.error().error == EEXIST) {
    return fail(EBUSY, fmt::format("device {0} was deleted, but a program still has /dev/ublkb{0} "
                                   "open: close it, or choose another -n",
                                   with_id.device.id));
  }
  if (!made) return std::unexpected(made.error());
  frontend_ = std::move(*made);
  id_ = record_.id = with_id.device.id;
  note_server();
  auto written = write_record(record_);
  claimed_ = written.has_value();
  return written;
}

Result<void> Device::serve() {
  auto served = serve_on();
  return served ? wait_until_openable() : served;
}

// With the record it is ours: nothing may fail after that.
Result<void> Device::serve_on() {
  if (auto served = frontend_->serve(); !served) return served;
  served_ = true;
  note_server();
  return write_record(record_);
}

void Device::note_server() {
  const std::scoped_lock guard(mutex_);
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

Result<void> Device::stop() {
  should_stop_ = true;
  if (desk_.busy()) return {};
  const std::scoped_lock guard(mutex_);
  if (!frontend_) return fail(EBUSY, kBetweenServers);
  return frontend_->stop();
}

Result<void> Device::stop_unless_busy() {
  const std::scoped_lock guard(mutex_);
  if (!frontend_) return fail(EBUSY, kBetweenServers);
  return frontend_->stop_unless_busy();
}

Result<uint64_t> Device::resize(std::optional<uint64_t> size_bytes) {
  const std::scoped_lock guard(mutex_);
  if (!frontend_) return fail(EBUSY, kBetweenServers);
  auto resized = stack_->resize(size_bytes);
  if (!resized) return resized;
  // First the record: no next server opens less than what the client was told of.
  record_.spec = stack_->spec();
  if (auto written = write_record(record_); !written) return std::unexpected(written.error());
  if (auto told = frontend_->resize(*resized); !told) return std::unexpected(told.error());
  record_.size_bytes = *resized;
  if (auto written = write_record(record_); !written) spdlog::warn("{}", written.error().text);
  return resized;
}

DeviceRecord Device::record() const {
  const std::scoped_lock guard(mutex_);
  return record_;
}

std::vector<QueueReport> Device::reports() const {
  const std::scoped_lock guard(mutex_);
  return frontend_ ? frontend_->reports() : std::vector<QueueReport>();
}

Result<nlohmann::json> Device::in_flight() const {
  const std::scoped_lock guard(mutex_);
  if (!frontend_) return fail(EBUSY, "the device is being handed over: ask its next server");
  auto requests = frontend_->in_flight();
  if (!requests) return std::unexpected(requests.error());
  return in_flight_json(std::move(*requests), stack_->root());
}

Result<Handover> Device::request_handover(std::optional<int> successor) {
  if (!successor && record().frontend != to_string(FrontendKind::ublk)) {
    return fail(EOPNOTSUPP,
                fmt::format("{} cannot be without a server: only ublk devices can", record().path));
  }
  if (auto same = check_reopening(successor); !same) return std::unexpected(same.error());
  if (auto requested = desk_.request(); !requested) return std::unexpected(requested.error());
  Result<void> quiesced;
  {
    const std::scoped_lock guard(mutex_);
    successor_ = successor;
    if (frontend_) quiesced = frontend_->quiesce();
  }
  if (!quiesced) {
    desk_.close();
    if (should_stop_) [[maybe_unused]]
      const auto stopped = stop();
    return std::unexpected(quiesced.error());
  }
  return desk_.collect(kQuiescePatience);
}

// While all is as it was: the files are closed and opened again, by the next server or by this one.
Result<void> Device::check_reopening(std::optional<int> successor) const {
  const std::scoped_lock guard(mutex_);
  if (!stack_) return fail(EBUSY, kBetweenServers);
  Result<void> same;
  const auto look = [&] { same = stack_->check_reopening(); };
  auto looked = home().run(look);
  if (looked && same && successor) looked = Viewpoint::of(*successor).run(look);
  if (looked && same) return {};
  return cannot_move(id_, looked ? same.error() : looked.error());
}

Result<void> Device::request_return() { return desk_.want_back(); }

Result<bool> Device::hand_over() {
  auto handover = let_go();
  if (!handover) {
    desk_.offer(std::unexpected(handover.error()));
    return std::unexpected(handover.error());
  }
  auto kept = duplicate(*handover);
  if (!kept) {
    desk_.offer(std::unexpected(kept.error()));
    return std::unexpected(kept.error());
  }
  desk_.offer(std::move(*handover));
  if (successor_came()) return true;
  spdlog::warn("device {}: no other server has taken it, it is served here again", id_);
  const auto served = take_back(std::move(*kept));
  desk_.close();
  if (!served) return std::unexpected(served.error());
  return false;
}

// The record still names this process; it is only for those who look that it is written again.
Result<void> Device::take_back(Handover handover) {
  if (auto opened = open_again(std::move(handover)); !opened) return opened;
  if (auto served = frontend_->serve(); !served) return served;
  note_server();
  if (auto written = write_record(record_); !written) spdlog::warn("{}", written.error().text);
  return {};
}

// The stack goes after the front end that uses it, and with it the locks on the files.
Result<Handover> Device::let_go() {
  log_totals();
  const std::scoped_lock guard(mutex_);
  auto handover = frontend_->let_go();
  frontend_.reset();
  stack_.reset();
  return handover;
}

// Whoever serves the device has written so into the record.
bool Device::successor_came() {
  if (!successor_) return true;  // none is wanted
  const auto give_up = std::chrono::steady_clock::now() + kSuccessorPatience;
  while (std::chrono::steady_clock::now() < give_up) {
    if (desk_.wanted_back(std::chrono::milliseconds(10))) return false;
    const auto found = read_record(id_);
    if (found && found->pid != record_.pid && server_alive(*found)) return true;
    if (!process_start_time(*successor_)) return false;
  }
  return false;
}

void Device::remove() {
  log_totals();
  // Whoever deletes the device does this too; the one that comes second finds it gone.
  const auto removed = frontend_->remove();
  if (!removed && removed.error().error != ENODEV) spdlog::warn("{}", removed.error().text);
  remove_record(record_.id);
}

void Device::log_totals() const {
  for (const QueueReport& report : reports()) {
    spdlog::info("device {}: {} requests, {} errors, {} bytes copied, {} arena overflows", id(),
                 report.requests, report.errors, report.copied_bytes, report.arena_overflows);
  }
}

}  // namespace sluice
