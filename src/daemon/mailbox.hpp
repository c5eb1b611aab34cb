// Mailbox: the messages to the control thread of a server, from signals, the control socket and the
// front end. The control thread handles them one by one, so that only one thread changes the
// device.
//
// Any thread puts letters in; the control thread takes them out.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "daemon/control_answer.hpp"
#include "spec/json_value.hpp"

namespace sluice {

struct Letter {
  enum class Kind : uint8_t {
    look,       // front end or keeper may have changed
    grown,      // what the device is made of has become larger
    terminate,  // the process is told to end
    command,
  };
  Kind kind = Kind::look;
  std::string command = {};
  JsonValue request = {};
  std::vector<Descriptor> descriptors = {};  // that came with the request
  ControlAnswer answer = {};
};

class Mailbox {
 public:
  using Clock = std::chrono::steady_clock;

  void put(Letter letter);
  // Drops all letters, and all later ones: the clients that wait for an answer get an error.
  void close();
  // Waits for a letter until `end`, or without a limit. nullopt: the time is over.
  std::optional<Letter> take(std::optional<Clock::time_point> end);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Letter> letters_;
  bool closed_ = false;
};

}  // namespace sluice
