#include "target/registry.hpp"

#include <algorithm>
#include <array>

#include "target/open.hpp"

namespace sluice {
namespace {

// One line per target, in display order.
constexpr const TargetType* kTargets[] = {
    &kLoopTarget,   &kQcow2Target,  &kOverlayTarget, &kNbdTarget,    &kRbdTarget,
    &kMemTarget,    &kNullTarget,   &kCryptTarget,   &kThinTarget,   &kLinearTarget,
    &kStripeTarget, &kMirrorTarget, &kFaultTarget,   &kVerifyTarget, &kExportsTarget,
};

}  // namespace

std::span<const TargetType> target_types() {
  static const auto types = [] {
    std::array<TargetType, std::size(kTargets)> copies;
    for (size_t i = 0; i < copies.size(); ++i) copies[i] = *kTargets[i];
    return copies;
  }();
  return types;
}

const TargetType* find_target_type(std::string_view name) {
  const auto found = std::ranges::find(target_types(), name,
                                       [](const TargetType& each) { return each.syntax.name; });
  return found == target_types().end() ? nullptr : &*found;
}

std::span<const TargetSyntax> target_vocabulary() {
  static const auto vocabulary = [] {
    std::array<TargetSyntax, std::size(kTargets)> syntaxes;
    for (size_t i = 0; i < syntaxes.size(); ++i) syntaxes[i] = kTargets[i]->syntax;
    return syntaxes;
  }();
  return vocabulary;
}

}  // namespace sluice
