// The seeds of a model run: random ones, or those that SLUICE_TEST_SEED=N (from N on) and
// SLUICE_TEST_ROUNDS=N (so many) ask for. They are printed.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>

namespace sluice::test {

struct Seeds {
  uint64_t first = 0;
  uint64_t count = 0;
  uint64_t end() const { return first + count; }
};

// SLUICE_TEST_FULL=1
inline bool runs_all_cases() { return std::getenv("SLUICE_TEST_FULL") != nullptr; }

// `usual`: how many if nothing else is asked for. `first`: the usual one, if it is always the same.
inline Seeds choose_seeds(uint64_t usual, std::optional<uint64_t> first = std::nullopt) {
  const auto number = [](const char* name) -> std::optional<uint64_t> {
    const char* const text = std::getenv(name);
    if (text == nullptr) return std::nullopt;
    return std::strtoull(text, nullptr, 0);
  };
  const auto chosen = number("SLUICE_TEST_SEED");
  if (chosen) first = chosen;
  const Seeds seeds{.first = first ? *first : std::random_device()(),
                    .count = number("SLUICE_TEST_ROUNDS").value_or(chosen ? 1 : usual)};
  fmt::print("[  seeds   ] {} and the {} after it\n", seeds.first, seeds.count - 1);
  return seeds;
}

}  // namespace sluice::test
