#include "target/registry.hpp"

#include <array>

#include "target/open.hpp"

namespace sluice {
namespace {

// The one table: a line per target, in the order in which they are shown.
constexpr const TargetType* kTargets[] = {
    &kLoopTarget,   &kMemTarget,   &kNullTarget,   &kLinearTarget,
    &kStripeTarget, &kFaultTarget, &kVerifyTarget,
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

std::span<const TargetSyntax> target_vocabulary() {
  static const auto vocabulary = [] {
    std::array<TargetSyntax, std::size(kTargets)> syntaxes;
    for (size_t i = 0; i < syntaxes.size(); ++i) syntaxes[i] = kTargets[i]->syntax;
    return syntaxes;
  }();
  return vocabulary;
}

File OpenContext::add_file(int descriptor) {
  files_.push_back(descriptor);
  return {.number = static_cast<int32_t>(files_.size() - 1), .registered = true};
}

}  // namespace sluice
