// Opens an image only for its metadata, without its backing and data files. Control path only.
#pragma once

#include <memory>
#include <string>

#include "core/error.hpp"
#include "target/stack.hpp"

namespace sluice::qcow2 {

// For writing, not started. Nobody reads or writes the disk of this stack.
Result<std::unique_ptr<Stack>> open_metadata(const std::string& path);

}  // namespace sluice::qcow2
