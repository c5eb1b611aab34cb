// The front ends that exist: one line for each in registry.cpp, nothing elsewhere.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "frontend/frontend_type.hpp"

namespace sluice {

// In the order in which they are tried for a user who has not chosen.
std::span<const FrontendType* const> frontend_types();
// Null: there is none.
const FrontendType* find_frontend(std::string_view name);
std::vector<std::string_view> frontend_names();

// The front end whose driver has a device of this number, of any program; null: there is none.
const FrontendType* find_in_kernel(uint32_t id);
// The numbers of all such devices.
std::vector<uint32_t> numbers_in_kernel();

}  // namespace sluice
