// nearest_match: the known word that a mistyped word most likely means.
//
// Pure functions, safe on any thread. They suggest only close matches: a wrong suggestion is worse
// than none.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice {

// The candidate with the smallest edit distance to `word`, ignoring the case of ASCII letters: at
// most 1 for words of up to three bytes, else at most 2. The first one wins a tie. Empty if none is
// that close.
std::string_view nearest_match(std::string_view word, std::span<const std::string_view> candidates);

// "did you mean 'stripe'?", or empty if no candidate is close.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace sluice
