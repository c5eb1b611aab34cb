// The options of `sluice create`, from the command line.
#pragma once

#include <span>
#include <string>
#include <vector>

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

// The items of the value of -o. As in qemu-img, they may contain a comma, which is written twice.
std::vector<std::string> items_of(std::string_view list);

// --- Values of -o; false: the value is not possible.
bool parse_power(const std::string& text, uint32_t& bits);       // a size that is a power of two
bool parse_version(const std::string& text, uint32_t& version);  // "0.10" or "v2", "1.1" or "v3"
// "off", "metadata", "falloc", "full".
bool parse_preallocation(const std::string& text, qcow2::Preallocation& how);

// Declares -o, whose values are lists of NAME=VALUE.
void declare_format_options(CommandLine& line, std::string help);

void declare_create(CommandLine& line, std::span<const std::string> arguments);

// Reads lists of NAME=VALUE, as -o takes them, into the options of an image of request.is_qcow2.
Outcome<void> read_format_options(std::span<const std::string> lists, CreateRequest& request);

// Checks each value, and which options go together; looks at no file.
Outcome<CreateRequest> read_create_request(const CommandLine& line);

}  // namespace sluice::cli
