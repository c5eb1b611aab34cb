// HandingOver: the handover of a device to its next server, the successor, on the side of the
// current server.
//
//   begin      the successor gets everything that it needs to prepare, while requests go on
//   pause      no new requests; once none is in flight, the successor gets the connections to the
//              kernel
//   commit     the successor serves: this server ends, and touches nothing
//
// From each state this server can go back to serving the device: on take_back, or if the successor
// dies or takes too long. If the driver cannot be told to go on (ublk), the device is recovered
// here as soon as the last request in flight has ended; until then no server gets it. `quiesce` is
// the pause alone, without a successor.
//
// Used by the control thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/error.hpp"
#include "daemon/device.hpp"
#include "daemon/mailbox.hpp"

namespace sluice {

// How long each stage may take.
struct HandoverTimeouts {
  std::chrono::milliseconds prepare{20'000};    // for the successor to be ready for the pause
  std::chrono::milliseconds pause{30'000};      // for the requests in flight
  std::chrono::milliseconds successor{20'000};  // for the successor to serve
};

class HandingOver {
 public:
  using Clock = Mailbox::Clock;

  explicit HandingOver(Device& device, const HandoverTimeouts& timeouts = {})
      : device_(device), timeouts_(timeouts) {}

  bool busy() const { return state_ != State::idle; }
  // The successor has the device, or after quiesce no server has it.
  bool is_over() const { return state_ == State::over; }
  // No successor gets the device, and it is served here again once the requests in flight have
  // ended.
  bool is_refused() const { return state_ == State::refused; }
  // Only if is_refused(): the device will be stopped instead of served here again.
  void give_up() { state_ = State::idle; }
  // The time of the next look(); nullopt: none is needed.
  std::optional<Clock::time_point> next_look() const;
  // Continues the handover as front end, successor and time require. Error: the device could not be
  // served again.
  Result<void> look();

  // Executes a command of the handover; the answer may come later.
  void carry_out(Letter& letter);

 private:
  enum class State : uint8_t { idle, begun, pausing, refused, offered, over };

  Result<ControlReply> begin(const JsonValue& request);
  Result<ControlReply> pass_files(const JsonValue& request) const;
  Result<void> check_quiescing() const;
  void pause(ControlAnswer answer);
  Result<ControlReply> commit();
  Result<ControlReply> take_back();
  void offer();
  Result<void> go_on();
  void refuse(Error error);
  bool successor_serves() const;
  bool successor_is_gone() const;

  Device& device_;
  const HandoverTimeouts timeouts_;
  State state_ = State::idle;
  std::optional<ProcessMark> successor_;  // none: quiesce
  Clock::time_point deadline_;
  ControlAnswer answer_;  // of the pause
  Result<void> lost_;     // Error: the device cannot be served any more
};

}  // namespace sluice
