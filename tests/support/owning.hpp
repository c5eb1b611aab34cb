// owning(): gives a target a file, in the lowest free slot of the process.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "target/target.hpp"

namespace sluice::test {

inline std::unique_ptr<Target> owning(std::unique_ptr<Target> target, int file) {
  std::vector<OpenFile> files;
  files.push_back({.descriptor = Descriptor(file), .slot = FileSlot()});
  target->own(std::move(files));
  return target;
}

}  // namespace sluice::test
