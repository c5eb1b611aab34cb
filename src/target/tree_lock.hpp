// The lock of all target trees and their specs: held exclusively while a child or a spec is
// changed, and shared by threads that walk a tree beside the control thread, such as the one that
// answers `sluice stat`. The data path does not take it.
#pragma once

#include <shared_mutex>

namespace sluice {

inline std::shared_mutex& tree_lock() {
  static std::shared_mutex lock;
  return lock;
}

}  // namespace sluice
