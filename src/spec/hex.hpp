// Bytes as hexadecimal digits, the JSON form of a path that is not UTF-8.
//
// Pure functions, safe on any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// The key of an object with this one member: {"hex":"ff00"}.
inline constexpr std::string_view kHexKey = "hex";

std::string write_hex(std::string_view bytes);
// Lower case only, as write_hex() writes it; nullopt for anything else.
std::optional<std::string> read_hex(std::string_view digits);

}  // namespace sluice
