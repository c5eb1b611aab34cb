#include "daemon/bind_thread.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace sluice {
namespace {

// The kernel's format: "0-3,8".
std::string processors_online() {
  std::ifstream file("/sys/devices/system/cpu/online");
  std::string list;
  file >> list;
  return list;
}

bool contains(const std::string& list, int processor) {
  const char* text = list.c_str();
  while (*text != '\0') {
    char* end = nullptr;
    const long first = std::strtol(text, &end, 10);
    const long last = *end == '-' ? std::strtol(end + 1, &end, 10) : first;
    if (processor >= first && processor <= last) return true;
    if (end == text) return false;
    text = *end == ',' ? end + 1 : end;
  }
  return false;
}

}  // namespace

Result<void> bind_thread(int thread, const std::vector<int>& processors) {
  const std::string online = processors_online();
  for (const int each : processors) {
    if (online.empty() || contains(online, each)) continue;
    return fail(EINVAL, fmt::format("this machine has no processor {}: it has {}", each, online));
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int processor : processors) CPU_SET(static_cast<size_t>(processor), &set);
  if (sched_setaffinity(thread, sizeof(set), &set) == 0) return {};
  switch (errno) {
    case EINVAL:
      return fail(EINVAL,
                  "the control group of the server allows none of these processors: choose others, "
                  "or give it more (cpuset.cpus)");
    case ESRCH:
      return fail(ESRCH, "the thread of the queue has just ended: try again");
    case EPERM:
      return fail(EPERM, "only root and the user who runs the server may bind its threads");
    default:
      return fail(errno,
                  fmt::format("cannot bind the thread of the queue: {}", std::strerror(errno)));
  }
}

}  // namespace sluice
