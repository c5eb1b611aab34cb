// The header extension that leads to the bitmap directory: how it is changed, step by step.
//
// Each step is one write within a sector, or on bytes that mean nothing yet, and is durable before
// the next one: a power cut at any time leaves a sound header, with the old bitmaps, the new ones,
// or without valid ones. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

struct HeaderStep {
  size_t place = 0;  // in the image
  std::vector<std::byte> bytes = {};
};

// `start`: the beginning of an image of version 3, which has been parsed; everything must be in
// there. nullopt: there are no bitmaps any more. ENOSPC: no room for the extension; EINVAL: the
// extensions have no end mark.
Result<std::vector<HeaderStep>> plan_extension(std::span<const std::byte> start,
                                               const std::optional<BitmapsExtension>& wanted);

}  // namespace sluice::qcow2
