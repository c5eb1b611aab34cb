#include "frontend/load_module.hpp"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice {

void load_module(const char* name) {
  if (geteuid() != 0) return;
  const char* const arguments[] = {"modprobe", "-q", name, nullptr};
  pid_t child = 0;
  if (posix_spawnp(&child, arguments[0], nullptr, nullptr, const_cast<char* const*>(arguments),
                   environ) == 0) {
    waitpid(child, nullptr, 0);
  }
}

}  // namespace sluice
