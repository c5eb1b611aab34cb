// Reactors: the reactors of a front end.
//
// The control thread sets and clears the list; any thread may read reports().
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "reactor/reactor.hpp"

namespace sluice {

class Reactors {
 public:
  using List = std::vector<std::unique_ptr<Reactor>>;

  // Waits for the threads of the former reactors.
  void set(List list) {
    const std::scoped_lock guard(mutex_);
    list_.swap(list);
  }
  void clear() { set({}); }

  const List& list() const { return list_; }  // for the control thread
  bool all_ended() const {
    return std::ranges::all_of(list_, [](const auto& each) { return each->has_ended(); });
  }
  bool all_paused() const {
    return std::ranges::all_of(list_, [](const auto& each) { return each->has_paused(); });
  }

  std::vector<QueueReport> reports() const {
    const std::scoped_lock guard(mutex_);
    std::vector<QueueReport> reports;
    for (const auto& each : list_) reports.push_back(each->report());
    return reports;
  }
  Result<std::vector<InFlight>> in_flight() const {
    const std::scoped_lock guard(mutex_);
    std::vector<InFlight> all;
    for (size_t i = 0; i < list_.size(); ++i) {
      auto found = list_[i]->in_flight();
      if (!found) return found;
      for (InFlight& each : *found) {
        each.queue = static_cast<uint16_t>(i);
        all.push_back(std::move(each));
      }
    }
    return all;
  }

 private:
  mutable std::mutex mutex_;
  List list_;
};

}  // namespace sluice
