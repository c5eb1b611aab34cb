// nearest_match: the known word that a mistyped one most likely stands for.
//
// Pure functions, owned by nobody, safe on any thread. They never guess far: a wrong suggestion is
// worse than none.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice {

// The candidate with the smallest edit distance to `word`, ignoring the case of ASCII letters: at
// most 1 for words of up to three bytes, else at most 2. The first one wins a tie. Empty where none
// is that near.
std::string_view nearest_match(std::string_view word, std::span<const std::string_view> candidates);

// "did you mean 'stripe'?", or empty where nothing is near.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace sluice
