// The options of `sluice create`, from the command line.
#pragma once

#include <span>
#include <string>

#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "target/qcow2/offline/create.hpp"

namespace sluice::cli {

struct CreateRequest {
  std::string path = {};
  bool is_qcow2 = false;
  bool any_size = false;  // a raw file need not have whole sectors
  bool has_size = false;  // otherwise it is that of the backing file
  bool force = false;     // replace an existing file
  // Of a raw file only the size and the preallocation.
  qcow2::CreateOptions options = {};
};

void declare_create(CommandLine& line, std::span<const std::string> arguments);

// Reads lists of NAME=VALUE, as -o takes them, into the options of an image of request.is_qcow2.
Outcome<void> read_format_options(std::span<const std::string> lists, CreateRequest& request);

// Checks each value, and which options go together; looks at no file.
Outcome<CreateRequest> read_create_request(const CommandLine& line);

}  // namespace sluice::cli
