// SignalWatch: forwards a server's signals to its control thread. They are blocked in every thread,
// including those of the device; one thread waits for them.
//
// Owned by the control path. SIGTERM, SIGINT and SIGHUP tell the process to end; SIGCHLD means that
// the keeper may have ended.
#pragma once

#include <memory>
#include <thread>

#include "core/error.hpp"
#include "daemon/mailbox.hpp"

namespace sluice {

class SignalWatch {
 public:
  // Before the process has threads.
  static void block_signals();

  static Result<std::unique_ptr<SignalWatch>> start(Mailbox& mailbox);
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch();

 private:
  explicit SignalWatch(Mailbox& mailbox) : mailbox_(mailbox) {}
  void watch();

  Mailbox& mailbox_;
  std::thread thread_;
};

}  // namespace sluice
