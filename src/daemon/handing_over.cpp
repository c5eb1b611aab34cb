#include "daemon/handing_over.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "core/passing.hpp"
#include "core/step.hpp"
#include "daemon/device_name.hpp"
#include "daemon/handover_messages.hpp"
#include "daemon/notify.hpp"
#include "frontend/registry.hpp"

namespace sluice {
namespace {

constexpr std::chrono::milliseconds kLook{10};  // between two looks at a successor

Result<ControlReply> nothing(Result<void> done) {
  if (!done) return std::unexpected(done.error());
  return ControlReply();
}

}  // namespace

std::optional<HandingOver::Clock::time_point> HandingOver::next_look() const {
  if (state_ == State::idle || state_ == State::over) return std::nullopt;
  return Clock::now() + kLook;
}

void HandingOver::carry_out(Letter& letter) {
  if (letter.command == "begin_handover") return letter.answer(begin(letter.request));
  if (letter.command == "pass_files") return letter.answer(pass_files(letter.request));
  if (letter.command == "commit_handover") return letter.answer(commit());
  if (letter.command == "take_back") return letter.answer(take_back());
  if (letter.command == "hand_over" && state_ == State::begun) {
    return pause(std::move(letter.answer));
  }
  if (letter.command == "quiesce" && state_ == State::idle) {
    successor_.reset();
    auto checked = device_.check_handover();
    if (checked) checked = check_quiescing();
    if (!checked) return letter.answer(std::unexpected(checked.error()));
    return pause(std::move(letter.answer));
  }
  if (letter.command == "hand_over" && state_ == State::idle) {
    return letter.answer(fail(EINVAL,
                              "no handover has begun: the next server is of an older sluice, which "
                              "cannot take the open files of the device"));
  }
  letter.answer(fail(EBUSY, "the device is being handed over already: try again"));
}

Result<ControlReply> HandingOver::begin(const JsonValue& request) {
  if (busy()) return fail(EBUSY, "the device is being handed over already: try again");
  if (auto checked = device_.check_handover(); !checked) return std::unexpected(checked.error());
  successor_ = handover_request_from(request).successor;
  if (successor_is_gone()) return fail(ESRCH, "the next server has gone already");
  step("handover begun");
  state_ = State::begun;
  deadline_ = Clock::now() + timeouts_.prepare;
  const DeviceOffer offer = device_.offer();
  return ControlReply{.body = to_json(HandoverOffer{.record = to_json(offer.record),
                                                    .frontend_state = *offer.frontend_state,
                                                    .files = device_.files().size(),
                                                    .missing = offer.missing,
                                                    .manager = manager_socket()}),
                      .descriptors = {}};
}

// Replies with as many files as one message takes, from index "from" on.
Result<ControlReply> HandingOver::pass_files(const JsonValue& request) const {
  if (state_ != State::begun) return fail(EINVAL, "no handover has begun");
  const auto from = files_wanted_from(request);
  const auto files = device_.files();
  if (from > files.size()) return fail(EINVAL, "there are not that many files");
  ControlReply reply;
  const size_t count = std::min(kPassedAtOnce, files.size() - from);
  for (const int file : std::span(files).subspan(from, count)) {
    reply.descriptors.emplace_back(fcntl(file, F_DUPFD_CLOEXEC, 0));
    if (reply.descriptors.back().valid()) continue;
    return fail(errno, fmt::format("cannot duplicate a descriptor: {}", std::strerror(errno)));
  }
  step("files passed");
  return reply;
}

// Not every driver keeps a device whose server has ended.
Result<void> HandingOver::check_quiescing() const {
  const DeviceRecord record = device_.record();
  if (outlives_server(record)) return {};
  std::vector<std::string_view> names;
  for (const FrontendType* const type : frontend_types()) {
    if (type->outlives_server()) names.push_back(type->name);
  }
  return fail(EOPNOTSUPP, fmt::format("{} cannot be without a server: only {} devices can",
                                      described(record), fmt::join(names, " and ")));
}

void HandingOver::pause(ControlAnswer answer) {
  if (auto paused = device_.pause(); !paused) {
    state_ = State::idle;
    return answer(std::unexpected(paused.error()));
  }
  step("told to pause");
  answer_ = std::move(answer);
  state_ = State::pausing;
  deadline_ = Clock::now() + timeouts_.pause;
}

// A successor that has taken too long has overwritten our record.
Result<ControlReply> HandingOver::commit() {
  if (state_ != State::offered) {
    if (state_ == State::idle) device_.rewrite_record();
    return fail(EINVAL, "the device has not been handed over, or was taken back");
  }
  device_.leave();
  state_ = State::over;
  return ControlReply();
}

Result<ControlReply> HandingOver::take_back() {
  if (state_ == State::idle || state_ == State::over) {
    return fail(EINVAL, "the device has not been handed over");
  }
  if (state_ == State::pausing) refuse({ECANCELED, "the next server cannot take the device"});
  lost_ = go_on();
  return nothing(lost_);
}

Result<void> HandingOver::look() {
  if (!lost_) return lost_;
  switch (state_) {
    case State::pausing:
      if (device_.has_paused()) {
        offer();
      } else if (Clock::now() > deadline_) {
        refuse({ETIMEDOUT,
                "the requests in flight have not ended in time, and nobody else gets the "
                "device: its server goes on with it, as soon as they have"});
        lost_ = go_on();
      } else if (successor_is_gone()) {
        refuse({ECANCELED, "the next server has gone"});
        lost_ = go_on();
      }
      break;
    case State::begun:
    case State::offered:
      if (successor_is_gone() || Clock::now() > deadline_) {
        if (state_ == State::offered && successor_serves()) {
          [[maybe_unused]] const auto over = commit();
          break;
        }
        spdlog::warn("device {}: no other server has taken it, it is served here again",
                     device_.id());
        lost_ = go_on();
      }
      break;
    case State::refused:
      if (device_.has_paused()) lost_ = go_on();
      break;
    case State::idle:
    case State::over:
      break;
  }
  return lost_;
}

void HandingOver::offer() {
  step("paused");
  auto handover = device_.let_go();
  step("let go");
  if (!handover) {
    refuse(handover.error());
    lost_ = go_on();
    return;
  }
  state_ = successor_ ? State::offered : State::over;
  if (!successor_) device_.leave();
  deadline_ = Clock::now() + timeouts_.successor;
  ControlReply reply{.body = to_json(GivenDevice{.frontend_state = handover->frontend.state,
                                                 .stack_failed = handover->stack_failed,
                                                 .failed_disks = handover->failed_disks}),
                     .descriptors = std::move(handover->frontend.descriptors)};
  answer_(std::move(reply));
}

// resume() returns EBUSY if the driver cannot be told to go on while requests are in flight.
Result<void> HandingOver::go_on() {
  if (state_ == State::begun) {
    state_ = State::idle;
    return {};
  }
  auto resumed = device_.resume();
  const bool not_yet = !resumed && resumed.error().error == EBUSY;
  state_ = not_yet ? State::refused : State::idle;
  return not_yet ? Result<void>() : resumed;
}

void HandingOver::refuse(Error error) {
  if (answer_.is_owed()) answer_(std::unexpected(std::move(error)));
}

// A successor that serves has replaced our record, whether or not it has told us.
bool HandingOver::successor_serves() const {
  const auto record = read_record(device_.id());
  return !successor_is_gone() && record && record->pid == successor_->pid &&
         record->pid_started == successor_->started;
}

// False if the process cannot be seen from here: then only the deadline counts.
bool HandingOver::successor_is_gone() const {
  if (!successor_) return false;
  const Life life = life_of(*successor_);
  return life == Life::dead || life == Life::ending;
}

}  // namespace sluice
