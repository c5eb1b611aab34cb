// Stack: the health of its whole tree.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "target/missing.hpp"
#include "target/stack.hpp"
#include "target/tree_lock.hpp"

namespace sluice {
namespace {

class Collector {
 public:
  // Adds the target, then what is below it. `worst`: what it can mean for the whole.
  void add(const Target& target, HealthState worst = HealthState::failed) {
    const int count = ++seen_[target.name()];
    found_.targets.push_back(
        {.name = count == 1 ? target.name() : fmt::format("{}#{}", target.name(), count),
         .health = target.health()});
    const TargetHealth& last = found_.targets.back();
    if (const HealthState state = std::min(last.health.state, worst); state > found_.state) {
      found_.state = state;
      found_.reason = fmt::format("{}: {}", last.name, last.health.reason);
    }
    if (last.health.is_redundant) worst = std::min(worst, HealthState::degraded);
    for (const auto& child : target.children()) {
      if (!is_free_place(*child)) add(*child, worst);
    }
  }

  StackHealth take() { return std::move(found_); }

 private:
  StackHealth found_;
  std::map<std::string, int> seen_;  // targets of each name
};

}  // namespace

StackHealth Stack::health() const {
  const std::shared_lock guard(tree_lock());
  Collector collector;
  collector.add(*root_);
  StackHealth found = collector.take();
  for (const auto& disk : disks()) {
    if (!disk->failed()) continue;
    found.state = HealthState::failed;
    found.reason =
        fmt::format("{}{}a flush has failed: writes are refused until the device is opened again",
                    disk->name(), disk->name().empty() ? "" : ": ");
  }
  return found;
}

}  // namespace sluice
