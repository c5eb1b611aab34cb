#include "daemon/server.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "core/step.hpp"
#include "daemon/caller.hpp"
#include "daemon/companion.hpp"
#include "daemon/control_socket.hpp"
#include "daemon/device_commands.hpp"
#include "daemon/device_event.hpp"
#include "daemon/event_log.hpp"
#include "daemon/handing_over.hpp"
#include "daemon/log.hpp"
#include "daemon/mailbox.hpp"
#include "daemon/name_link.hpp"
#include "daemon/notify.hpp"
#include "daemon/server_death.hpp"
#include "daemon/server_end.hpp"
#include "daemon/settling.hpp"
#include "daemon/signal_watch.hpp"
#include "daemon/taking_over.hpp"
#include "target/crypt/passphrase.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kEndTimeout{30};  // for requests that make no progress
constexpr std::chrono::milliseconds kEndLook{100};

std::unexpected<Error> not_as_it_should_be(const std::string& command) {
  return fail(EINVAL, fmt::format("the request '{}' is malformed", command));
}

std::unexpected<Error> only_for_a_command(const Device& device) {
  return fail(EOPNOTSUPP, fmt::format("device {} exists for a command (--run) that only its server "
                                      "knows: it cannot have another server",
                                      device.id()));
}

// The life of a served device, up to its end, on the control thread.
class Server final : private FrontendListener {
 public:
  explicit Server(std::unique_ptr<Device> device, Companion* companion = nullptr)
      : device_(std::move(device)), companion_(companion) {}
  ~Server() {
    close_control_socket();
    finish_events();
  }

  // Everything that may fail before clients notice.
  Result<void> prepare();
  // Everything that only root may do. From here on no other server of the device answers on the
  // control socket.
  Result<void> give_up_rights();
  // From here on this server does.
  Result<void> open_control_socket();
  Device& device() { return *device_; }
  // From here on the events of the device are recorded, `event` as the first.
  void begin_events(std::string_view event, std::string_view text);
  // Serves until the device is deleted or has another server.
  Result<void> run();
  // Stops the device again; `why` is the reason.
  Error end(const Error& why);

 private:
  void frontend_changed() override { mailbox_.put({.kind = Letter::Kind::look}); }
  Result<void> listen_for_control();
  void close_control_socket();
  bool may_stop(bool even_if_used) const;
  Result<void> handle(Letter letter);
  Result<void> look();
  void bound_the_end();
  std::optional<Mailbox::Clock::time_point> next_look() const;
  void carry_out(Letter& letter);
  Result<void> stop(bool even_if_used);
  Result<void> leave();

  Mailbox mailbox_;
  std::unique_ptr<Device> device_;
  Companion* const companion_;  // null: none
  HandingOver handing_over_{*device_};
  std::unique_ptr<SignalWatch> signals_;
  std::unique_ptr<ControlSocket> control_;
  bool should_stop_ = false;  // unless a handover succeeds
  bool stopping_ = false;
  std::optional<Mailbox::Clock::time_point> progressed_;  // the last end of a request
  uint64_t requests_seen_ = 0;
  bool gone_ = false;
  bool tells_events_ = false;
};

Result<void> Server::prepare() {
  auto signals = SignalWatch::start(mailbox_);
  if (!signals) return std::unexpected(signals.error());
  signals_ = std::move(*signals);
  return device_->prepare(*this);
}

Result<void> Server::give_up_rights() {
  if (device_->record().user.empty()) return {};
  auto listening = listen_for_control();
  return listening ? settle_for_rights(*device_) : listening;
}

Result<void> Server::open_control_socket() {
  auto listening = listen_for_control();
  return listening ? control_->begin() : listening;
}

Result<void> Server::listen_for_control() {
  if (control_ != nullptr) return {};
  auto socket =
      ControlSocket::listen(control_path(device_->id()), device_commands(*device_, mailbox_));
  if (!socket) return std::unexpected(socket.error());
  control_ = std::move(*socket);
  return {};
}

// Waits, so that the event is already written when the caller can use the device.
void Server::begin_events(std::string_view event, std::string_view text) {
  tells_events_ = true;
  emit({.kind = event, .text = text});
  emit_health(device_->health());
  watch_health([this] { mailbox_.put({.kind = Letter::Kind::look}); });
  watch_growth([this] { mailbox_.put({.kind = Letter::Kind::grown}); });
  finish_events();
}

// Pending clients get an error.
void Server::close_control_socket() {
  watch_health({});
  watch_growth({});
  mailbox_.close();
  control_.reset();
}

Result<void> Server::run() {
  while (!gone_) {
    auto letter = mailbox_.take(next_look());
    if (letter) {
      if (auto handled = handle(std::move(*letter)); !handled) return handled;
    }
    if (auto looked = look(); !looked) return looked;
    if (handing_over_.is_over()) return leave();
  }
  close_control_socket();
  device_->remove();
  if (tells_events_) {
    emit({.kind = kDeleted,
          .text = should_stop_ ? "its server was told to end"
                  : stopping_  ? "by command"
                               : "it was unmounted or detached, or its last client has gone"});
  }
  return {};
}

Result<void> Server::handle(Letter letter) {
  switch (letter.kind) {
    case Letter::Kind::look:
      return {};
    case Letter::Kind::grown:
      if (!stopping_ && !handing_over_.busy()) follow_growth(*device_);
      return {};
    case Letter::Kind::terminate:
      notify_manager("STOPPING=1");
      should_stop_ = true;
      if (companion_ != nullptr) companion_->tell_to_end();
      if (may_stop(true)) [[maybe_unused]]
        const auto stopped = stop(true);  // it logs errors itself; look() limits the time
      return {};
    case Letter::Kind::command:
      if (!letter.answer.begin()) return {};  // the client has gone or timed out
      try {
        carry_out(letter);
      } catch (const JsonMismatch& error) {
        spdlog::debug("not a request: {}", error.what());
        if (letter.answer.is_owed()) letter.answer(not_as_it_should_be(letter.command));
      }
      return {};
  }
  return {};
}

void Server::carry_out(Letter& letter) {
  const bool is_begun = letter.command == "begin_handover" || letter.command == "quiesce" ||
                        letter.command == "resize" || letter.command == "control";
  if (stopping_ && is_begun) return letter.answer(fail(EBUSY, "the device is being stopped"));
  if (letter.command != "stop" && letter.command != "resize" && letter.command != "control") {
    if (companion_ != nullptr) return letter.answer(only_for_a_command(*device_));
    return handing_over_.carry_out(letter);
  }
  const bool force = letter.request.value("force", false);
  if (!may_stop(letter.command == "stop" && force)) {
    return letter.answer(fail(EBUSY, "the device is being handed to another server: try again"));
  }
  if (letter.command == "stop") {
    const auto stopped = stop(force);
    if (!stopped) return letter.answer(std::unexpected(stopped.error()));
    return letter.answer(ControlReply());
  }
  letter.answer(change_device(*device_, letter));
}

// Not during a handover. If no server can take over, the device may be stopped by force instead of
// resuming here.
bool Server::may_stop(bool even_if_used) const {
  return !handing_over_.busy() || (handing_over_.is_refused() && even_if_used);
}

// Checks the progress of front end, keeper and the other server.
Result<void> Server::look() {
  if (companion_ != nullptr && !should_stop_ && companion_->has_ended()) {
    mailbox_.put({.kind = Letter::Kind::terminate});
  }
  if (handing_over_.busy()) {
    if (auto looked = handing_over_.look(); !looked || handing_over_.busy()) return looked;
    if (should_stop_) [[maybe_unused]]
      const auto stopped = stop(true);
  }
  if (auto minded = device_->mind_keeper(); !minded) {
    spdlog::error("device {} is lost: {}", device_->id(), minded.error().text);
    return minded;
  }
  gone_ = device_->has_ended() && (stopping_ || !device_->revive());
  if (tells_events_ && !stopping_ && !gone_) device_->note_health();
  if (stopping_ && !gone_) bound_the_end();
  return {};
}

// A device whose requests do not end is left to the kernel: the end of this process ends them. The
// record lists the remains.
void Server::bound_the_end() {
  uint64_t requests = 0;
  for (const QueueReport& report : device_->reports()) requests += report.requests;
  if (requests != requests_seen_ || !progressed_) progressed_ = Mailbox::Clock::now();
  requests_seen_ = requests;
  if (Mailbox::Clock::now() - *progressed_ < kEndTimeout) return;
  spdlog::error("device {}: its last requests do not end, so its server exits", device_->id());
  finish_logging();
  finish_events();
  std::_Exit(EXIT_FAILURE);
}

std::optional<Mailbox::Clock::time_point> Server::next_look() const {
  const auto next = handing_over_.next_look();
  return next || !stopping_ ? next : Mailbox::Clock::now() + kEndLook;
}

Result<void> Server::stop(bool even_if_used) {
  step("told to stop");
  if (handing_over_.is_refused()) handing_over_.give_up();
  stopping_ = stopping_ || even_if_used;
  auto stopped = device_->stop(even_if_used);
  step("stopped");
  stopping_ = stopping_ || stopped;
  if (!stopped) spdlog::error("{}", stopped.error().text);
  return stopped;
}

Error Server::end(const Error& why) {
  if (stop(true)) {
    if (const auto ended = run(); !ended) spdlog::error("{}", ended.error().text);
  }
  return why;
}

// The manager must be notified before this process ends, or it considers the service ended. Signals
// that arrived during the handover are for the next server.
Result<void> Server::leave() {
  if (control_ != nullptr) control_->leave_file();
  close_control_socket();
  const auto record = read_record(device_->id());
  const bool quiesced = record && record->pid == getpid();  // no next server
  if (quiesced) expect_server_end(*record);
  if (quiesced) emit({.kind = kQuiesced, .text = "its server has ended; its requests wait"});
  if (!record || quiesced) return {};
  notify_manager(fmt::format("MAINPID={}", record->pid));
  if (should_stop_) tell_to_end(*record);
  return {};
}

void announce(const Device& device) {
  const DeviceRecord record = device.record();
  spdlog::info("device {} is live, mode {}", record.id, record.mode);
  notify_manager(fmt::format("READY=1\nMAINPID={}\nSTATUS={} is live, mode {}", getpid(),
                             record.path, record.mode));
}

// Serves until the end of the device, then frees its resources. Of the options only those for the
// process count.
Result<void> serve(std::unique_ptr<Device> device, std::string_view event,
                   const ServeOptions& options, const LogKeeper& keeper, const Ready& ready) {
  if (auto settled = settle_down(*device, options); !settled) return settled;
  keeper.repeat();
  Server server(std::move(device), options.companion);
  if (auto prepared = server.prepare(); !prepared) return prepared;
  if (auto given = server.give_up_rights(); !given) return given;
  if (auto served = server.device().serve(); !served) {
    if (!server.device().is_served()) return served;
    return std::unexpected(server.end(served.error()));
  }
  if (auto opened = server.open_control_socket(); !opened) {
    return std::unexpected(server.end(opened.error()));
  }
  step("socket opened");
  std::vector<std::string> notes = keeper.lines();
  if (const auto linked = make_name_link(server.device().record()); !linked) {
    spdlog::warn("{}", linked.error().text);
    notes.push_back(linked.error().text);
  }
  if (event == kRecovered) forget_server_end(server.device().id());
  server.begin_events(event,
                      fmt::format("process {} serves {}", getpid(), server.device().record().path));
  if (!ready({.id = server.device().id(), .notes = std::move(notes)})) {
    return std::unexpected(
        server.end({ECANCELED, "the process that requested the device has gone"}));
  }
  announce(server.device());
  step("announced");
  drop_mounts(state_directory());
  return server.run();
}

// Serves the device of another server, which continues if this fails.
Result<void> serve_in_place_of(const DeviceRecord& record, const Ready& ready) {
  OldServer old{.id = record.id, .manager = {}};
  auto offer = old.begin();
  if (!offer) return std::unexpected(offer.error());
  join_cgroup_of(record.pid);
  auto device = make_aside([&] { return Device::take_over(std::move(*offer)); });
  if (!device) return std::unexpected(old.give_back(device.error()));
  auto prepared = settle_down(**device, {});
  auto server = std::make_unique<Server>(std::move(*device));
  if (prepared) prepared = server->prepare();
  if (!prepared) return std::unexpected(old.give_back(prepared.error()));
  auto handover = old.let_go();
  if (!handover) return std::unexpected(handover.error());
  use_manager_socket(old.manager);
  auto served = server->device().take(std::move(*handover));
  if (served) served = server->device().serve();
  if (!served) {
    server.reset();  // with everything that it holds of the device
    return std::unexpected(old.give_back(served.error()));
  }
  if (auto committed = old.commit(); !committed) return committed;
  if (auto given = server->give_up_rights(); !given) {
    return std::unexpected(server->end(given.error()));
  }
  server->device().settle();
  if (const auto opened = server->open_control_socket(); !opened) {
    spdlog::warn("this server has no control socket: {}", opened.error().text);  // but it serves
  }
  server->begin_events(kUpgraded,
                       fmt::format("process {} serves it after process {}", getpid(), record.pid));
  ready({.id = record.id, .notes = {}});
  announce(server->device());
  drop_mounts(state_directory());
  return server->run();
}

}  // namespace

Result<void> serve_new_device(const ServeOptions& options, const Ready& ready) {
  const LogKeeper keeper(options.debug_mask, options.quiet);
  SignalWatch::block_signals();
  auto device = make_aside([&] { return Device::add(options); });
  crypt::forget_passphrases();
  if (!device) return std::unexpected(device.error());
  for (const int each : named_descriptors(options.spec)) close(each);  // it has its own copies
  return serve(std::move(*device), kAdded, options, keeper, ready);
}

Result<void> serve_recovered_device(const DeviceRecord& record, bool foreground,
                                    const Ready& ready) {
  const LogKeeper keeper(record.debug_mask);
  SignalWatch::block_signals();
  auto device = make_aside([&] { return Device::recover(record); });
  crypt::forget_passphrases();
  if (!device) return std::unexpected(device.error());
  ServeOptions options;
  options.foreground = foreground;
  return serve(std::move(*device), kRecovered, options, keeper, ready);
}

Result<void> serve_upgraded_device(const DeviceRecord& record, const Ready& ready) {
  const LogKeeper keeper(record.debug_mask);
  SignalWatch::block_signals();
  return serve_in_place_of(record, ready);
}

}  // namespace sluice
