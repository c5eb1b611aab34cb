// The options of target rbd: which image of which cluster, and how long to wait for it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "spec/spec.hpp"

namespace sluice::rbd {

struct ImageName {
  std::string pool = {};
  std::string name_space = {};  // empty: the pool's own
  std::string image = {};
  std::string snapshot = {};  // empty: the image itself

  std::string text() const;
};

struct Options {
  ImageName name = {};
  std::string conf = {};     // the path
  std::string id = {};       // of the user: client.ID
  std::string keyring = {};  // the path; empty: as the configuration says
  bool exclusive = true;
  bool read_only = false;
  std::chrono::seconds timeout{};  // for the answer of the cluster to one request
};

// POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]. EINVAL: anything else.
Result<ImageName> parse_image_name(std::string_view text);

// EINVAL: a name that cannot be parsed, a duration out of its range.
Result<Options> read_options(const Spec& spec);

}  // namespace sluice::rbd
