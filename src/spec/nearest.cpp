#include "spec/nearest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace sluice {
namespace {

// The words of the vocabulary are short; a longer word is no typo of any of them.
constexpr size_t kLongestWord = 64;

size_t edit_distance(std::string_view a, std::string_view b);
char lower(char byte);

}  // namespace

std::string_view nearest_match(std::string_view word,
                               std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > kLongestWord) return {};
  size_t best_distance = (word.size() <= 3 ? 1 : 2) + 1;
  std::string_view best;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > kLongestWord) continue;
    const size_t distance = edit_distance(word, candidate);
    // At a distance of the word's length, no letter needs to match.
    if (distance >= best_distance || distance >= word.size()) continue;
    best_distance = distance;
    best = candidate;
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  const std::string_view nearest = nearest_match(word, candidates);
  return nearest.empty() ? std::string() : fmt::format("did you mean '{}'?", nearest);
}

namespace {

// Levenshtein's distance, one row of the table at a time.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::array<size_t, kLongestWord + 1> row{};
  for (size_t column = 0; column <= b.size(); ++column) row[column] = column;
  for (size_t line = 1; line <= a.size(); ++line) {
    size_t diagonal = row[0];
    row[0] = line;
    for (size_t column = 1; column <= b.size(); ++column) {
      const size_t replace = diagonal + (lower(a[line - 1]) == lower(b[column - 1]) ? 0 : 1);
      diagonal = row[column];
      row[column] = std::min({replace, row[column] + 1, row[column - 1] + 1});
    }
  }
  return row[b.size()];
}

char lower(char byte) {
  return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte;
}

}  // namespace
}  // namespace sluice
