// Determines whether a process that is recorded in a file still runs.
//
// Its pid alone is not enough: pids are reused, a pid means another process in another pid
// namespace, and /proc may hide it, be missing, or belong to another namespace. If the state is
// unknown, the process is not taken for dead.
//
// Read-only, safe on any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

struct ProcessMark {
  int pid = 0;
  uint64_t started = 0;  // in clock ticks since boot; 0: unknown
  std::string scope;     // the scope of both, see process_scope(); empty: not recorded
};

ProcessMark this_process();

// Identifies the pid namespace, the time namespace and the boot of this process: within equal
// scopes equal pids and start times mean the same process.
std::string process_scope();

// ending: it was killed or is exiting, and no longer answers, but its resources are not free yet.
enum class Life : uint8_t { alive, ending, dead, unknown };
Life life_of(const ProcessMark& mark);
// True if the mark has this process's scope, so that our /proc applies to it.
bool counts_as_here(const ProcessMark& mark);

// The suffix of a file's name that identifies its writer: PID.STARTED.NAMESPACE
std::string mark_suffix();
// Parses that suffix; older servers wrote only the pid. nullopt: no such suffix.
std::optional<ProcessMark> parse_mark_suffix(std::string_view text);

// The kernel's start time of a process, or nullopt if it has ended or /proc does not show it: only
// life_of() can distinguish these.
std::optional<uint64_t> process_start_time(int pid);
// With its name, if visible: "process 12 (sluice)".
std::string describe_process(int pid);

}  // namespace sluice
