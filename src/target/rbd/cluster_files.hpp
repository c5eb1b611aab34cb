// The configuration and the keyring of a cluster, copied to memory: a server opens its image again
// when it has other mounts or no rights to the files, and the next server does so without them.
#pragma once

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "target/rbd/libraries.hpp"
#include "target/rbd/options.hpp"

namespace sluice::rbd {

struct ClusterFiles {
  Descriptor conf;
  Descriptor keyring;  // empty: there is none

  // Errors of the files, with a sentence.
  static Result<ClusterFiles> read(const Library& library, const Options& options);
};

}  // namespace sluice::rbd
