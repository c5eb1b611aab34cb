// Names of files in memory, for the libraries, which open files by name.
#pragma once

#include <fmt/format.h>

#include <string>

#include "core/descriptor.hpp"

namespace sluice::rbd {

inline std::string path_of(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }
inline std::string path_of(const Descriptor& file) { return path_of(file.number()); }

}  // namespace sluice::rbd
