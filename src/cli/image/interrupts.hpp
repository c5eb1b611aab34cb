// Interrupts: while it exists, SIGINT, SIGTERM and SIGHUP do not end the program, but make a
// descriptor readable.
//
// Of one thread; made before the command starts others that do not block these signals themselves.
#pragma once

#include <csignal>

#include "core/descriptor.hpp"

namespace sluice::cli {

class Interrupts {
 public:
  Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  // Signals that came and were not looked at are gone.
  ~Interrupts();

  int descriptor() const { return descriptor_.number(); }

 private:
  sigset_t set_{};
  sigset_t before_{};
  Descriptor descriptor_;
};

}  // namespace sluice::cli
