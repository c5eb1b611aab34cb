// A device configuration file: the options of `add`, by their long names, as JSON.
//
//   {"spec": "stripe(/srv/a.img, /srv/b.img, chunk=64k)", "number": 3, "queues": 2}
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/failure.hpp"

namespace sluice::cli {

// Returns the file's options as command line arguments of `add`. A failure names the file.
Outcome<std::vector<std::string>> read_config(const std::string& path);

// The same, for a text read from `path`.
Outcome<std::vector<std::string>> config_arguments(std::string_view text, const std::string& path);

}  // namespace sluice::cli
