// keep_for_ever(): keeps an object until the process ends, because the kernel, or a coroutine that
// is never resumed, may still use its memory. Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace sluice {

inline void keep_for_ever(std::shared_ptr<const void> object) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::shared_ptr<const void>>;  // never destroyed
  const std::scoped_lock guard(mutex);
  kept->push_back(std::move(object));
}

}  // namespace sluice
