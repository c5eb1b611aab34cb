// All targets, for the registry only. Each is a constant that the target's own file defines next to
// its options:
//
//   constexpr OptionSyntax kNullOptions[] = {{.name = "size", .kind = OptionKind::size, ...}};
//   Result<std::unique_ptr<Target>> open_null(const Spec&, Target::Children&&, OpenContext&) {...}
//
//   constinit const TargetType kNullTarget = {
//       .syntax = {.name = "null", .summary = "...", .options = kNullOptions}, .open = open_null};
//
// A new target is declared here and listed in registry.cpp; no other code names it.
#pragma once

#include "target/open_context.hpp"

namespace sluice {

extern const TargetType kNullTarget;
extern const TargetType kMemTarget;
extern const TargetType kLoopTarget;
extern const TargetType kQcow2Target;
extern const TargetType kOverlayTarget;
extern const TargetType kCryptTarget;
extern const TargetType kThinTarget;
extern const TargetType kLinearTarget;
extern const TargetType kStripeTarget;
extern const TargetType kMirrorTarget;
extern const TargetType kFaultTarget;
extern const TargetType kVerifyTarget;
extern const TargetType kNbdTarget;
extern const TargetType kRbdTarget;
extern const TargetType kExportsTarget;

}  // namespace sluice
