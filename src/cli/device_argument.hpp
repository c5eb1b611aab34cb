// The device argument of a command: sluice COMMAND [-n] DEVICE [WORD]...
//
// Its number, its name, or a path to it. Looked up among the existing devices.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cli/command_line.hpp"
#include "cli/failure.hpp"

namespace sluice::cli {

inline constexpr std::string_view kDeviceWord = "DEVICE";
inline constexpr std::string_view kDeviceOrFileWord = "DEVICE|FILE";  // of `resize`

struct DeviceArgument {
  std::optional<uint32_t> id;         // nullopt: no device was named
  std::span<const std::string> rest;  // the words after it; owned by the line
};

// Declares -n DEVICE and the word DEVICE.
void declare_device(CommandLine& line, std::string help);

// If -n names the device, all words are the rest.
Outcome<DeviceArgument> read_device(const CommandLine& line);

// For commands without other words.
Outcome<std::optional<uint32_t>> read_only_device(const CommandLine& line);

// ... which also require a device.
Outcome<uint32_t> read_required_device(const CommandLine& line);
// The failure if no device was named.
std::unexpected<Failure> needs_device(const CommandLine& line);

}  // namespace sluice::cli
