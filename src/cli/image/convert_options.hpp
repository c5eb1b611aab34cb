// The options of `sluice convert`, from the command line.
#pragma once

#include <cstdint>
#include <string>

#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "cli/image/create_options.hpp"

namespace sluice::cli {

struct ConvertRequest {
  std::string source = {};
  std::string source_format = {};  // empty: recognised
  std::string snapshot = {};       // of the source; empty: the disk as it is now
  bool unlocked = false;
  bool source_cached = true;  // through the page cache

  // The new image, all but its size. For an existing target only the path and the backing file.
  CreateRequest target = {};
  std::string target_format = {};  // empty: not given
  bool exists = false;             // -n
  bool is_zero = false;            // an existing target has only zeroes
  bool target_cached = true;

  bool compress = false;
  bool shows_progress = false;
  uint16_t at_once = 8;
  uint64_t sparse_bytes = 4096;  // 0: nothing is left out
  uint64_t begin = 0;
};

void declare_convert(CommandLine& line, std::span<const std::string> arguments);

// Checks each value, and which options go together; looks at no file.
Outcome<ConvertRequest> read_convert_request(const CommandLine& line);

}  // namespace sluice::cli
