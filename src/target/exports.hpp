// The target `exports`: several disks of one server, each with a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "spec/spec.hpp"

namespace sluice {

// True if it has letters, digits, '.', '_' and '-' only, at least one and at most 4096.
bool is_export_name(std::string_view name);

// The spec of several disks. Their names are checked when it is opened.
Spec exports_spec(const std::vector<std::string>& names, std::vector<Spec> disks);

}  // namespace sluice
