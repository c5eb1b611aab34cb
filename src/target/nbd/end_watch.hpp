// EndWatch: when the device ends, breaks a connection off whose server is silent, so that its calls
// fail instead of waiting.
//
// Part of a Connection, used on its ring, where the Remote posts it at the end of the device.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>

#include "core/task.hpp"
#include "target/nbd/remote.hpp"

namespace sluice::nbd::client {

class Connection;

class EndWatch final : public Remote::EndNotice {
 public:
  explicit EndWatch(Connection& connection);

  // The server has sent something, or taken it.
  void note_word() { ++words_; }
  // When the connection is closing: afterwards nothing of the watch runs, or will.
  Task end(Request& own);

 private:
  void run() override { watch(); }
  Service watch();
  std::chrono::nanoseconds patience() const;

  Connection& connection_;
  uint64_t words_ = 0;
  bool over_ = false;
  Completion* sleeping_ = nullptr;  // what end() cancels
  std::coroutine_handle<> ender_;   // waits for the end of the watch
};

}  // namespace sluice::nbd::client
