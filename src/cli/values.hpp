// What the values on a command line mean. Strict: a number is digits and nothing else, in its
// range, and every list item counts.
//
// Pure functions, safe on any thread. What was not given is the fallback, or nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "cli/command_line.hpp"
#include "cli/failure.hpp"

namespace sluice::cli {

struct Range {
  uint64_t minimum = 0;
  uint64_t maximum = UINT64_MAX;
};

// The driver numbers devices in the 20 bits of a minor number.
inline constexpr uint64_t kMaxDeviceId = (uint64_t{1} << 20) - 1;

// Digits and nothing else, and no more than fit.
std::optional<uint64_t> parse_digits(std::string_view text, int base = 10);

Outcome<uint64_t> read_number(const CommandLine& line, std::string_view option, uint64_t fallback,
                              Range range);
// Bytes, with a unit if wanted: 524288, 512k.
Outcome<uint64_t> read_size(const CommandLine& line, std::string_view option, uint64_t fallback,
                            Range range);
// 0 or 1, as ublk writes its switches; no if not given.
Outcome<bool> read_switch(const CommandLine& line, std::string_view option);
// Hexadecimal, with or without 0x, as in ublk; 0 if not given.
Outcome<uint32_t> read_mask(const CommandLine& line, std::string_view option);
// -n ID.
Outcome<std::optional<uint32_t>> read_id(const CommandLine& line);
// -n ID where the command needs it.
Outcome<uint32_t> read_required_id(const CommandLine& line);

// Processors as in "0-3,8", in brackets if wanted (ublk writes "[0,1]"): ascending, each once.
Outcome<std::vector<int>> parse_processors(std::string_view text);

}  // namespace sluice::cli
