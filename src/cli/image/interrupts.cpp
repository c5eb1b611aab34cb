#include "cli/image/interrupts.hpp"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace sluice::cli {

Interrupts::Interrupts() {
  sigemptyset(&set_);
  for (const int each : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, each);
  pthread_sigmask(SIG_BLOCK, &set_, &before_);
  descriptor_ = Descriptor(signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
}

Interrupts::~Interrupts() {
  signalfd_siginfo taken{};
  while (descriptor_.valid() && read(descriptor_.number(), &taken, sizeof(taken)) > 0) continue;
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace sluice::cli
