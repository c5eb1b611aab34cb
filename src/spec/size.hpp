// Sizes as people write them: 4096, 64k, 1.5G, 512s.
//
// Pure functions, owned by nobody, safe on any thread. They never round what was written: a size
// is exact or refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace sluice {

// The largest size: what off_t can hold.
inline constexpr uint64_t kSizeMax = INT64_MAX;

// Bytes. Units are binary and written k, M, G, T, P (either case), KiB .. PiB, s (512-byte
// sectors), b or B (bytes); a fraction is allowed where the result is a whole number of bytes;
// white space around it is ignored. EINVAL for anything else (kB, MB, ... could mean powers of 1000
// and are refused with that hint), ERANGE above kSizeMax.
// `where`, such as " at column 8", is put behind the quoted text in the error.
Result<uint64_t> parse_size(std::string_view text, std::string_view where = {});

// Exact, with the largest unit that leaves a whole number: 65536 -> "64k", 1000 -> "1000".
std::string format_size(uint64_t bytes);

// For people, rounded to a tenth: 1610612736 -> "1.5 GiB".
std::string describe_size(uint64_t bytes);

}  // namespace sluice
