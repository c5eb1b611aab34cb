// What `sluice crypt info` shows.
#pragma once

#include <string>

#include "cli/show.hpp"
#include "target/crypt/volume.hpp"

namespace sluice::cli {

// `name`: of what holds the header.
std::string volume_text(const std::string& name, const crypt::Volume& volume);
Json volume_json(const std::string& name, const crypt::Volume& volume);

}  // namespace sluice::cli
