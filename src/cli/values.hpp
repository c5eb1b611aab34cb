// Parses the values on a command line. Strict: a number is only digits, in its range, and every
// list item is checked.
//
// Pure functions, safe on any thread. A missing option yields the fallback, or nullopt.
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

// Only digits, without overflow.
std::optional<uint64_t> parse_digits(std::string_view text, int base = 10);

Outcome<uint64_t> read_number(const CommandLine& line, std::string_view option, uint64_t fallback,
                              Range range);
// Bytes, with an optional unit: 524288, 512k.
Outcome<uint64_t> read_size(const CommandLine& line, std::string_view option, uint64_t fallback,
                            Range range);
// 0 or 1, like ublk's switches; false if not given.
Outcome<bool> read_switch(const CommandLine& line, std::string_view option);
// Hexadecimal, with or without 0x, as in ublk; 0 if not given.
Outcome<uint32_t> read_mask(const CommandLine& line, std::string_view option);
// -n ID, the number of a device, which need not exist.
Outcome<std::optional<uint32_t>> read_id(const CommandLine& line);

// Parses processors as in "0-3,8", optionally in brackets (ublk writes "[0,1]"). Returns them
// ascending, without duplicates.
Outcome<std::vector<int>> parse_processors(std::string_view text);

}  // namespace sluice::cli
