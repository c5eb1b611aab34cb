// Sizes in the notation for users: 4096, 64k, 1.5G, 512s.
//
// Pure functions, safe on any thread. Parsing never rounds: a size is exact or refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace sluice {

// The largest size: the maximum of off_t.
inline constexpr uint64_t kSizeMax = INT64_MAX;

// Bytes. Units are binary and written k, M, G, T, P (either case), KiB .. PiB, s (512-byte
// sectors), b or B (bytes); a fraction is allowed if the result is a whole number of bytes;
// surrounding white space is ignored. EINVAL for anything else (kB, MB, ... could mean powers of
// 1000 and are refused with that hint), ERANGE above kSizeMax. `where`, such as " at column 8",
// follows the quoted text in the error.
Result<uint64_t> parse_size(std::string_view text, std::string_view where = {});

// Exact, in the largest unit that gives a whole number: 65536 -> "64k", 1000 -> "1000".
std::string format_size(uint64_t bytes);

// Advice for `bytes` that is no multiple of `unit`: "give 512 or 1024", or "give 512" if only one
// of the two nearest multiples lies between `lowest` and `highest`.
std::string advise_multiple(uint64_t bytes, uint64_t unit, uint64_t lowest,
                            uint64_t highest = kSizeMax);

// For messages, rounded to a tenth: 1610612736 -> "1.5 GiB".
std::string describe_size(uint64_t bytes);
// The same for tables: "1.5G", "512B".
std::string short_size(uint64_t bytes);

}  // namespace sluice
