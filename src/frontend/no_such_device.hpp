// The error for a number that no device has.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstdint>

#include "core/error.hpp"

namespace sluice {

inline Error no_such_device(uint32_t id) {
  return {ENODEV, fmt::format("there is no device {}: 'sluice list' shows all", id)};
}

}  // namespace sluice
