// ControlCall: a command of the user to one target of a running stack (`sluice ctl`).
//
// A target's type lists its verbs (TargetType::verbs); Target::control() carries them out on the
// control reactor, while requests are served. It must be done by the deadline: a long verb starts
// a job.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "core/status.hpp"
#include "spec/json_value.hpp"
#include "spec/spec.hpp"
#include "target/target.hpp"

namespace sluice {

struct ControlCall {
  using Clock = std::chrono::steady_clock;

  Spec verb;  // its name as the target, and its arguments; checked against the verb's syntax
  Target::Children children{};  // of the verb: opened, not started
  Clock::time_point deadline = Clock::time_point::max();
  JsonValue answer = JsonValue::object();  // shown to the user; empty: nothing to say
  std::string why{};                       // the reason for a failure, one sentence

  // Makes `own` the spec of this target: from then on a recovery, or the next server, opens the
  // target with it. Durable as the record of a device is. Call it on the control reactor when the
  // children of the target are those of `own`.
  std::function<Status(const Spec& own)> publish{};

  Status fail(int error, std::string text) {
    why = std::move(text);
    return Status::from_errno(error);
  }
};

}  // namespace sluice
