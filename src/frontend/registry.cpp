#include "frontend/registry.hpp"

#include <algorithm>

#include "frontend/types.hpp"

namespace sluice {
namespace {

// The only list of front ends.
constexpr const FrontendType* kFrontends[] = {&kUblkFrontend, &kLoopFrontend, &kFuseFrontend,
                                              &kNbdFrontend};

}  // namespace

std::span<const FrontendType* const> frontend_types() { return kFrontends; }

const FrontendType* find_frontend(std::string_view name) {
  const auto* const found = std::ranges::find(kFrontends, name, &FrontendType::name);
  return found == std::end(kFrontends) ? nullptr : *found;
}

std::vector<std::string_view> frontend_names() {
  std::vector<std::string_view> names;
  for (const FrontendType* const type : kFrontends) names.push_back(type->name);
  return names;
}

const FrontendType* find_in_kernel(uint32_t id) {
  for (const FrontendType* const type : kFrontends) {
    if (type->numbers != nullptr && type->numbers->has(id)) return type;
  }
  return nullptr;
}

std::vector<uint32_t> numbers_in_kernel() {
  std::vector<uint32_t> all;
  for (const FrontendType* const type : kFrontends) {
    if (type->numbers == nullptr) continue;
    const auto numbers = type->numbers->all();
    all.insert(all.end(), numbers.begin(), numbers.end());
  }
  return all;
}

}  // namespace sluice
