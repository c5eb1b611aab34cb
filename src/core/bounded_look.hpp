// Queries, with a time limit, of files and processes that may never answer: a file on a dead
// network or FUSE file system, a process that is stuck in the kernel.
//
// A helper process makes the query. If it hangs, the caller continues without an answer; the helper
// holds nothing of the caller but the mounts of its open files, and ends as soon as the kernel lets
// it. Control path only.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace sluice {

struct LookLimits {
  std::chrono::milliseconds each{2'000};  // for one query
  std::chrono::milliseconds all{10'000};
};

// Returns the results of look(0), look(1) ... look(count - 1); nullopt for a call that hung,
// crashed, or was not reached in time. `look` runs in a forked child with only this thread and none
// of the open files: it must not take a lock that another thread may have held, such as the log's.
// Error: no helper could be started.
using Looks = std::vector<std::optional<std::string>>;
Result<Looks> look_bounded(size_t count, const std::function<std::string(size_t)>& look,
                           const LookLimits& limits = {});

}  // namespace sluice
