// The name of the backing file in the header of an image, and how it is changed.
//
// Everything else in the first cluster stays, extensions that we do not know included. A sector is
// written as a whole or not at all; a power cut therefore leaves the old name and format, or the
// new ones, or the new name without a format, which nobody has to guess: it is refused.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace sluice::qcow2 {

struct HeaderWrite {
  size_t place = 0;
  std::vector<std::byte> bytes = {};
};

// The writes that give the image another backing file, each to be durable before the next.
// `start`: its first cluster, which parse_header() accepts. An empty name removes it, with one
// write into the first sector; the recorded format stays then, and means nothing. ENOSPC: the first
// cluster has no room; ENOTSUP: what is there cannot be changed safely.
Result<std::vector<HeaderWrite>> plan_backing(std::span<const std::byte> start,
                                              const std::string& name, const std::string& format);

}  // namespace sluice::qcow2
