// The change of snapshots that a Qcow2Run has running.
#pragma once

#include <optional>

#include "model/qcow2_run.hpp"

namespace sluice::test {

struct Qcow2Run::RunningVerb {
  explicit RunningVerb(Ring& ring) : life(ring) {}
  LifeRequest life;
  ControlCall call;
  std::optional<Task> task;
};

}  // namespace sluice::test
