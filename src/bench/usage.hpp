// What a measurement used, in the units of the reports.
#pragma once

#include <sys/resource.h>

namespace sluice::bench {

inline constexpr double kMib = 1 << 20;

// CPU time in user space and kernel. `who` is RUSAGE_SELF (the process) or RUSAGE_THREAD.
inline double cpu_seconds(int who) {
  rusage used{};
  getrusage(who, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

}  // namespace sluice::bench
